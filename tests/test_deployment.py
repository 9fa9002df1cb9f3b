"""`prefect deployment run kpod/full-pipeline` for real: a server and a worker on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PREFECT = [str(Path(sys.executable).with_name("prefect"))]


def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _stop(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A running server and worker, and a function that runs `prefect ...` against them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "KPOD_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PYTHONPATH": str(ROOT),
        "PWD": str(ROOT),
        "COLUMNS": "200",  # Prefect cuts its tables to the width of the terminal
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [*PREFECT, "--no-prompt", *arguments], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(*arguments: str) -> subprocess.Popen:
        log = (tmp_path / f"{arguments[0]}.log").open("w")
        return subprocess.Popen(
            [*PREFECT, *arguments], env=env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )

    server = start("server", "start", "--host", "127.0.0.1", "--port", str(port))
    started = [server]
    try:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/api/health"), 300, "the server's start")
        call("work-pool", "create", "kpod", "--type", "process")
        started.append(start("worker", "start", "--pool", "kpod"))
        call.env = env  # type: ignore[attr-defined]
        yield call
    finally:
        for process in reversed(started):
            _stop(process)


@pytest.mark.timeout(600)
def test_the_deployment_runs_on_a_worker_and_its_parameters_are_a_typed_form(
    prefect: Callable[..., str], tmp_path: Path
) -> None:
    prefect("deploy", "--all")
    shown = json.loads(prefect("deployment", "inspect", "kpod/full-pipeline", "--output", "json"))
    form = shown["parameter_openapi_schema"]
    assert {"config", "refresh", "until"} <= form["properties"].keys()
    assert "alpha" in form["definitions"]["Weights"]["properties"]
    assert form["definitions"]["Weights"]["additionalProperties"] is False  # an unknown key is refused by the form

    config = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    parameters = json.dumps({"config": config, "until": "steps"})
    prefect("deployment", "run", "kpod/full-pipeline", "--params", parameters, "--watch", "--watch-timeout", "300")
    assert list((tmp_path / "home" / "artifacts" / "steps").iterdir())
    assert "COMPLETED" in prefect("flow-run", "ls").upper()
