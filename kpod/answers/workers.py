"""Verifiers that may hang or crash, in worker processes: JSON lines over pipes, killed at their time limit."""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from functools import cache
from typing import Any

from kpod.answers import worker
from kpod.answers.verifiers import MathVerifier, PythonVerifier

STARTING_S = 120.0  # seconds in which the process must have imported what it needs


class Failed(Exception):
    """The verifier raised, hung, died or returned no valid verdict; the message says which, in one line."""


class Worker:
    """A worker process, started on first use and again after it was killed. Thread-safe: one request at a time."""

    def __init__(self, settings: MathVerifier | PythonVerifier) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        atexit.register(self.stop)

    def start(self) -> None:
        """Start the process unless it runs. Raises Failed if the verifier cannot be imported or is no function."""
        with self._lock:
            self._start()

    def ask(self, question: str, completion: str, gold: str) -> tuple[str | None, float]:
        """The answer as the verifier reads it (None if it does not say) and the score in [0, 1]. Raises Failed."""
        with self._lock:
            self._start()
            reply = self._exchange([question, completion, gold], self._settings.timeout_s)
        return reply["answer"], float(reply["score"])

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        judge_name = "math" if isinstance(self._settings, MathVerifier) else self._settings.function
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-m", worker.__name__, judge_name, str(2 * self._settings.timeout_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        self._exchange(None, STARTING_S)

    def _exchange(self, request: object, seconds: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise Failed("the worker is gone")
        try:
            if request is not None:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            reply: dict[str, Any] = json.loads(_line(process.stdout.fileno(), seconds))
        except TimeoutError:
            self.stop()
            raise Failed(f"no verdict in {seconds:g} s") from None
        except (BrokenPipeError, EOFError):
            self.stop()
            raise Failed("the worker died") from None
        if "failure" in reply:
            raise Failed(str(reply["failure"]))
        return reply


@cache
def worker_of(settings: MathVerifier | PythonVerifier) -> Worker:
    """The worker for these settings, shared by all callers in this process."""
    return Worker(settings)


def _line(file: int, seconds: float) -> bytes:
    """A line from a pipe. Raises TimeoutError, or EOFError at the end of the pipe."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    read = b""
    while not read.endswith(b"\n"):
        if not poll.poll(seconds * 1000):
            raise TimeoutError
        if not (part := os.read(file, 65536)):
            raise EOFError
        read += part
    return read
