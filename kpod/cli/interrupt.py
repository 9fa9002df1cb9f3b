"""Ctrl-C: the first one ends a command in order, the second one at once, with all its processes."""

import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import FrameType
from typing import NoReturn

from kpod.store.liveness import kill_descendants

INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells have it
PATIENCE_SECONDS = 6.0  # for an orderly end, in which open runs are closed
SHOW_CURSOR = "\x1b[?25h"
SERVES = Event()  # set by commands that are servers, of which nothing is left to continue


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT into KeyboardInterrupt; at the second, or after PATIENCE_SECONDS, exit at once.

    Prints the command that continues, if there is one; the exit code is 130. For the main thread of a command, once a
    process. A thread watches the signals, because Python calls handlers only in the main thread, which may be in a long
    native call.
    """
    interrupted = Event()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    watched, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.signal(signal.SIGINT, interrupt)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    Thread(target=_watch, args=(watched,), name="Ctrl-C", daemon=True).start()
    try:
        yield
    except BaseException:  # whatever a library makes of KeyboardInterrupt
        if not interrupted.is_set():
            raise
        _leave()  # runs are recorded: what is left to close, libraries and servers, would take seconds


def _watch(signals: socket.socket) -> None:
    """Wait for two SIGINTs, the second for a limited time; every byte is the number of a signal."""
    while signals.recv(1)[0] != signal.SIGINT:
        pass
    print("\nstopping; Ctrl-C again leaves at once", file=sys.stderr, flush=True)
    signals.settimeout(PATIENCE_SECONDS)
    with suppress(TimeoutError):
        while signals.recv(1)[0] != signal.SIGINT:
            pass
    _leave()


def _leave() -> NoReturn:
    """End this process and its children at once, and print the command that continues."""
    if sys.stderr.isatty():
        print(SHOW_CURSOR, end="", file=sys.stderr)
    command = shlex.join(["kpod", *sys.argv[1:]])
    kept = f"Interrupted. What is finished is kept, the same command goes on from there:\n  {command}"
    print("The server has stopped." if SERVES.is_set() else kept, file=sys.stderr, flush=True)
    sys.stdout.flush()
    kill_descendants(os.getpid())
    os._exit(INTERRUPTED)
