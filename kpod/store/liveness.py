"""Which runs of this state folder are alive: each holds a lock that the kernel drops when its process dies."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kpod.store.files import locked
from kpod.store.home import home

Service = Literal["mlflow", "prefect"]  # whose run it is
_watchers: list["subprocess.Popen[bytes]"] = []  # their input closes with this process, not before


@contextmanager
def held(service: Service, run_id: str) -> Iterator[None]:
    """Show that the run lives, until the block ends or the process dies; it is dead then until `forget`."""
    descriptor = hold(service, run_id)
    try:
        yield
    finally:
        os.close(descriptor)


def hold(service: Service, run_id: str) -> int:
    """Show that the run lives, until the process dies or the descriptor that is returned is closed."""
    folder = _folder(service)
    folder.mkdir(parents=True, exist_ok=True)
    # Locked before it has its name: nobody may find it free in between.
    unnamed = folder / f".{run_id}"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.replace(unnamed, folder / run_id)
    return descriptor


def dead(service: Service) -> list[str]:
    """Ids of the runs that began here and whose end nobody recorded; `forget` them once that is done."""
    return [path.name for path in _folder(service).glob("[!.]*") if not locked(path) and path.exists()]


def forget(service: Service, run_id: str) -> None:
    """The end of this run is recorded."""
    (_folder(service) / run_id).unlink(missing_ok=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even by SIGKILL (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before the kernel knew
            os.kill(os.getpid(), signal.SIGKILL)


def kill_after_me(pid: int) -> None:
    """Have another process killed as soon as this one has ended, however it ended."""
    # The shell waits for the end of its input, which is this process's end. In a session of its own, so that what
    # kills this process's group leaves it alone.
    command = ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(pid)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    _watchers.append(watcher)


def _folder(service: Service) -> Path:
    return home() / "alive" / service
