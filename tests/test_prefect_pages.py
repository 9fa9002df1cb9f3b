"""What a person sees in Prefect: a real server is asked for the artifacts, task names, states and form of real runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_tools import answers, ask, free_port, until

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server's API, and a state folder."""
    root = tmp_path_factory.mktemp("pages")
    port = free_port()
    env = {**os.environ, "PREFECT_HOME": str(root / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    api = f"http://127.0.0.1:{port}/api"
    try:
        until(lambda: answers(f"{api}/health"), "the server's start")
        yield api, root / "home"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def kpod_run(server: tuple[str, Path], *options: str) -> subprocess.CompletedProcess[str]:
    api, home = server
    env = {**os.environ, "PREFECT_API_URL": api, "KPOD_HOME": str(home)}
    command = [sys.executable, "-m", "kpod.cli", "run", str(TINY), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def newest_run(api: str) -> dict[str, Any]:
    return dict(ask(f"{api}/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0])


def test_a_run_shows_its_outcome_its_stages_and_the_way_to_mlflow(server: tuple[str, Path]) -> None:
    done = kpod_run(server, "--set", "methods=[base,kpod]")
    assert done.returncode == 0, done.stderr
    run = newest_run(server[0])
    tasks = ask(f"{server[0]}/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert {"distill (kpod)", "evaluate (base)", "report (all)"} <= {task["name"] for task in tasks}
    found = ask(f"{server[0]}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    by_key = {artifact["key"]: artifact for artifact in found}
    outcome = by_key["kpod-outcome"]
    rows = json.loads(outcome["data"]) if isinstance(outcome["data"], str) else outcome["data"]
    assert outcome["type"] == "table"
    assert outcome["description"].startswith("kpod ")
    assert {row["method"] for row in rows} == {"base", "kpod"}
    mlflow_run = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("Run "))
    assert f"/runs/{mlflow_run}?" in by_key["kpod-mlflow"]["data"]
    assert "mlflow server" in by_key["kpod-mlflow"]["description"]
    stage = by_key["kpod-distill-kpod"]
    assert stage["type"] == "markdown"
    assert "| distill.target_tokens |" in stage["data"]
    assert stage["task_run_id"] in {task["id"] for task in tasks if task["name"] == "distill (kpod)"}


def test_the_state_of_a_failed_run_says_which_key_and_what_to_do(server: tuple[str, Path]) -> None:
    endpoint = "teacher.endpoint={kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key_env: null}"
    done = kpod_run(server, "--set", "teacher.model=m", "--set", endpoint)
    assert done.returncode == 2
    state = newest_run(server[0])["state"]
    assert state["type"] == "FAILED"
    assert "teacher.endpoint.base_url: http://127.0.0.1:9/v1 cannot be reached" in state["message"]


@pytest.mark.parametrize(
    ("module", "flow", "parameters"),
    [
        ("flows.pipeline", "kpod", {"config", "refresh", "until"}),
        ("flows.compare", "kpod_compare", {"sweep", "refresh"}),
        ("flows.retrain", "kpod_retrain", {"config", "retrain", "address"}),
    ],
)
def test_every_field_of_a_deployments_form_has_a_type_and_a_description(
    module: str, flow: str, parameters: set[str]
) -> None:
    from importlib import import_module

    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(getattr(import_module(module), flow)).model_dump()
    assert set(schema["properties"]) == parameters
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    for name, model in schema["definitions"].items():
        for key, field in model.get("properties", {}).items():
            assert {"type", "anyOf", "allOf", "oneOf", "$ref", "enum", "const"} & field.keys(), f"{name}.{key}"
