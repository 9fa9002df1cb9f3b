"""Ctrl-C in a real terminal: a run ends in order, says how to go on, and leaves no process behind."""

import fcntl
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from server_tools import until
from test_flow import TINY

from kpod import tracking

INTERRUPTED, CTRL_C = 130, b"\x03"
# Makes the terminal on its standard input its own, as a login does, and becomes what is to run in it.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
SETTINGS = {  # settings that make a stage long enough to be met in the middle
    "rationales": ["questions.sources.0.train=6000", "teacher.concurrency=1"],
    "base": ["student.epochs=5000"],
    "distill": ["methods=[scotd]", "distill.budget.epochs=2000", "distill.processes=2"],
}


class Terminal:
    """A process in a pseudo-terminal of its own, and what it shows."""

    def __init__(self, *arguments: str) -> None:
        self._keyboard, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *arguments],
            stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
        )  # fmt: skip
        os.close(inside)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while some := os.read(self._keyboard, 65_536):
                self._shown += some
        except OSError:  # the last process that had the terminal has ended
            return

    def press(self, key: bytes) -> None:
        os.write(self._keyboard, key)

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="replace")

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(120)
        self._reader.join(30)
        return code


@contextmanager
def running(home: Path, stage: str) -> Iterator[tuple[Terminal, list[psutil.Process]]]:
    """A run in the middle of `stage`, and its processes; they are killed if the test does not end them."""
    settings = [part for setting in SETTINGS[stage] for part in ("--set", setting)]
    terminal = Terminal("-m", "kpod.cli", "run", str(TINY), *settings)
    family = [psutil.Process(terminal.process.pid)]

    def in_the_middle() -> bool:
        assert terminal.process.poll() is None, terminal.shown
        family[1:] = family[0].children(recursive=True)
        return bool(list(home.glob(f"work/{stage}-*"))) and (stage != "distill" or ranks(family) == 2)

    try:
        until(in_the_middle, f"the stage {stage}")
        yield terminal, family
    finally:
        for process in alive(family):
            process.kill()


def ranks(family: list[psutil.Process]) -> int:
    """How many processes train; the agent that started them has options before the job."""
    return sum(process.cmdline()[-3:-1] == ["-m", "kpod.training.worker"] for process in family)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("stage", SETTINGS)
def test_the_first_ends_the_run_in_order(stage: str, kpod_home: Path) -> None:
    with running(kpod_home, stage) as (terminal, family):
        terminal.press(CTRL_C)
        assert terminal.end() == INTERRUPTED
        until(lambda: not alive(family), "the end of all processes", seconds=30)
    assert "Traceback" not in terminal.shown
    assert "the same command goes on" in terminal.shown
    assert f"kpod run {TINY} --set" in terminal.shown
    api = tracking.client()
    runs = {run.data.tags["kpod.stage"]: run for run in api.search_runs([tracking.experiment_id(api)])}
    assert runs["pipeline"].info.status == runs[stage].info.status == "KILLED"
    assert {run.info.status for run in runs.values()} <= {"KILLED", "FINISHED"}
    with closing(sqlite3.connect(kpod_home / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT state_type FROM flow_run").fetchall() == [("CRASHED",)]


def test_the_second_ends_it_at_once(kpod_home: Path) -> None:
    with running(kpod_home, "rationales") as (terminal, family):
        terminal.press(CTRL_C)
        until(lambda: "again leaves at once" in terminal.shown, "an answer to the first")
        terminal.press(CTRL_C)
        assert terminal.end() == INTERRUPTED
        until(lambda: not alive(family), "the end of all processes", seconds=30)
    assert "Traceback" not in terminal.shown


def test_it_ends_a_command_that_is_inside_a_native_call(tmp_path: Path) -> None:
    script = tmp_path / "native.py"
    # PBKDF2 computes for minutes without a look at signals, and lets other threads run.
    script.write_text(
        "import hashlib\n"
        "from kpod.cli import interrupt\n"
        "interrupt.PATIENCE_SECONDS = 0.5\n"
        "with interrupt.interruptible():\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)\n"
    )
    terminal = Terminal(str(script))
    until(lambda: "ready" in terminal.shown, "the native call")
    terminal.press(CTRL_C)
    assert terminal.end() == INTERRUPTED
    assert "the same command goes on" in terminal.shown


def test_a_server_stops_and_names_no_command_that_would_continue_it() -> None:
    terminal = Terminal("-m", "kpod.cli", "teacher", "serve", "--port", "0")
    until(lambda: "http://127.0.0.1:" in terminal.shown, "the server")
    terminal.press(CTRL_C)
    assert terminal.end() == INTERRUPTED
    assert "The server has stopped." in terminal.shown
    assert "the same command goes on" not in terminal.shown
