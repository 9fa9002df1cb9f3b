"""Which runs of this state folder are alive: each holds a lock that the kernel releases when its process ends."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from kpod.store.files import is_locked
from kpod.store.home import home

Service = Literal["mlflow", "prefect"]  # the service that records the run
_watchers: dict[int, "subprocess.Popen[bytes]"] = {}  # by pid watched; keeps their pipes open until this process ends


@contextmanager
def alive(service: Service, run_id: str) -> Iterator[None]:
    """Mark the run as alive inside the block; `dead_runs` lists it afterwards until `forget` is called."""
    descriptor = acquire(service, run_id)
    try:
        yield
    finally:
        os.close(descriptor)


def acquire(service: Service, run_id: str) -> int:
    """Mark the run as alive until the returned file descriptor is closed or the process ends."""
    folder = _folder(service)
    folder.mkdir(parents=True, exist_ok=True)
    # Locked under a temporary name, then renamed: no other process can see the file unlocked.
    unnamed = folder / f".{run_id}"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.replace(unnamed, folder / run_id)
    return descriptor


def dead_runs(service: Service) -> list[str]:
    """Ids of runs that were marked as alive and no longer are; call `forget` when the end of one is recorded."""
    return [path.name for path in _folder(service).glob("[!.]*") if not is_locked(path) and path.exists()]


def forget(service: Service, run_id: str) -> None:
    """Remove the mark of a run whose end is recorded."""
    (_folder(service) / run_id).unlink(missing_ok=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even by SIGKILL (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # the parent ended before prctl was called
            os.kill(os.getpid(), signal.SIGKILL)


def kill_descendants(pid: int) -> None:
    """Kill all descendants of a process, those in a session of their own included."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def kill_on_exit(pid: int) -> None:
    """Have process `pid` killed when this process ends for any reason, SIGKILL included."""
    if pid in _watchers:
        return
    # The shell waits for its input, which the kernel closes when this process ends. It runs in a session of its own,
    # so that a signal to this process's group does not reach it.
    command = ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(pid)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    _watchers[pid] = watcher


def _folder(service: Service) -> Path:
    return home() / "alive" / service
