"""A lock manager for Prefect's transactions whose locks are released when their holder dies.

Prefect's own file lock remains after SIGKILL; the kernel releases a flock with the last descriptor.
"""

import asyncio
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.locking.protocol import LockManager

from kpod.store.files import is_locked

POLL_SECONDS = 0.1


class FlockManager(LockManager):
    """One lock file a key under `folder`, on one host or a shared filesystem with working flock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[int, str]] = {}  # key -> (descriptor, holder)
        self._guard = threading.Lock()

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Acquire the lock, waiting at most `acquire_timeout` seconds; True if it is held on return."""
        return _until(lambda: self._try(key, holder), acquire_timeout)

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """As `acquire_lock`, without blocking the event loop."""
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        """Release the lock. Raises ValueError if `holder` does not hold it."""
        with self._guard:
            descriptor, owner = self._held.get(key, (-1, ""))
            if owner != holder:
                raise ValueError(f"{holder} does not hold the lock of {key}")
            del self._held[key]
            os.close(descriptor)

    def is_locked(self, key: str) -> bool:
        """Whether the lock is held."""
        return key in self._held or is_locked(self._path(key))

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether `holder` of this process holds the lock."""
        return self._held.get(key, (-1, ""))[1] == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until the lock is free; False after `timeout` seconds."""
        return _until(lambda: not self.is_locked(key), timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """As `wait_for_lock`, without blocking the event loop."""
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)

    def _try(self, key: str, holder: str) -> bool:
        with self._guard:
            if key in self._held:
                return self._held[key][1] == holder
            descriptor = self._flock(key)
            if descriptor is None:
                return False
            self._held[key] = (descriptor, holder)
            return True

    def _flock(self, key: str) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.lock"

    def __deepcopy__(self, memo: dict[int, Any]) -> "FlockManager":
        return self  # Prefect copies task options; the locks held must stay one set


def _until(reached: Callable[[], bool], timeout: float | None) -> bool:
    """Wait until a condition holds; False if it does not after `timeout` seconds."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while not reached():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
