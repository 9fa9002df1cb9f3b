"""The teacher inside a real flow: where its key comes from and never goes, and what its progress artifact says."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from teacher_tools import stats

from kpod.config import ScriptedEndpoint
from kpod.teacher.faults import Faults
from kpod.teacher.http import HttpResponse, refusal
from kpod.teacher.server import TeacherServer, running

TINY = Path(__file__).parent / "tiny.yaml"
SECRET = "sk-0123456789-in-a-block"
OTHER = "sk-9876543210-in-the-environment"
# Keys come over the standard input or the environment, so that no argument and no file of the test holds one.
RUNS = """
import sys
from kpod.store.home import prepare, set_environment
set_environment()
prepare()  # Prefect's database lies in it
from prefect.blocks.system import Secret
from kpod.errors import KpodError
from kpod.cli.launch import launch
from kpod.config.settings import load
Secret(value=sys.stdin.readline().strip()).save("teacher-key")
file, echoing, honest = sys.argv[1:]
for settings in (
    {"base_url": echoing, "api_key_block": "no-such-block"},
    {"base_url": echoing, "api_key_block": "teacher-key"},
    {"base_url": honest, "api_key_block": "teacher-key"},
    {"base_url": echoing, "api_key_env": "MY_KEY"},
):
    endpoint = ", ".join(f"{name}: '{value}'" for name, value in {"kind": "openai", **settings}.items())
    more = ["questions.sources.0.train=60", "teacher.concurrency=4", "teacher.resamples=0", "teacher.max_retries=30"]
    more.append("teacher.model=another" if "api_key_env" in settings else "teacher.model=served")
    try:
        launch(load(file, [f"teacher.endpoint={{{endpoint}}}", *more]), [], "rationales", False)
    except KpodError as error:
        print("stopped:", error)
"""


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that expects another key than SECRET repeats the key that it got, after 20 requests."""
    real = TeacherServer.handle

    async def handle(self: TeacherServer, request: Any) -> HttpResponse:
        if self._api_key is None and self._counts["received"] >= 20 and "completions" in request.path:
            return refusal(401, f"Incorrect API key provided: {request.headers['authorization']}.")
        return await real(self, request)

    monkeypatch.setattr(TeacherServer, "handle", handle)


def test_no_key_is_in_anything_that_flows_leave_behind(tmp_path: Path, echo: None) -> None:
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "KPOD_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "MY_KEY": OTHER,
        "OPENAI_LOG": "debug",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "DEBUG",
    }
    slow = Faults(latency_s=0.15, server_error=0.1)
    with running(ScriptedEndpoint()) as echoing, running(ScriptedEndpoint(), slow, api_key=SECRET) as honest:
        done = subprocess.run(
            [sys.executable, "-c", RUNS, str(TINY), echoing, honest],
            input=SECRET + "\n", env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert stats(honest)["answered"] == 40  # the other 20 were in the journal
    stopped = [line for line in done.stdout.splitlines() if line.startswith("stopped: ")]
    assert len(stopped) == 3
    assert "no Secret block 'no-such-block'" in stopped[0]
    assert all("Incorrect API key provided: Bearer [key]." in line for line in stopped[1:])
    left = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    left |= {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    for name in ("prefect.db", "mlflow.db"):  # the search looks where names and settings do lie
        with sqlite3.connect(next(home.rglob(name))) as database:  # with what a server has not yet moved into the file
            assert any("teacher-key" in line for line in database.iterdump())
    assert b"POST" in left["stderr"]  # the debug log was on
    assert not [path for path, text in left.items() if SECRET.encode() in text or OTHER.encode() in text]
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        told = [row[0] for row in database.execute("select description from artifact where type = 'progress'")]
    assert any("rationales, 60 of 60, failed 0, requests 60, tokens" in text and "usd 0" in text for text in told), told
