"""`prefect deployment run kpod/full-pipeline` for real: a server and a worker on loopback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from server_tools import answers, free_port, until

ROOT = Path(__file__).parent.parent
PREFECT = [str(Path(sys.executable).with_name("prefect"))]


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
    port = free_port()
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
        until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), "the server's start", seconds=300)
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
