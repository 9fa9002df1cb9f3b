"""The deployments of prefect.yaml for real: a server and a worker on loopback, limits, an event, a cancelled run."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_tools import answers, ask, free_port, until

from flows.cache import TEACHER_LIMIT
from flows.locks import FlockManager
from kpod import tracking
from kpod.run.stages import STAGES

ROOT = Path(__file__).parent.parent
PREFECT = [str(Path(sys.executable).with_name("prefect"))]
TINY = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
pytestmark = pytest.mark.timeout(900)


class Stand:
    """A server with what the head of prefect.yaml makes on it, all deployments, and a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        self.env = {
            **os.environ,
            "KPOD_HOME": str(self.home),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",  # the nightly run starts when a test says so
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
            "PWD": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.started = [self.start("server", "start", "--host", "127.0.0.1", "--port", str(port))]
        until(lambda: answers(f"{self.api}/health"), "the server's start", seconds=300)
        self.call("work-pool", "create", "kpod", "--type", "process")
        self.call("work-queue", "create", "gpu", "--pool", "kpod", "--limit", "1")
        self.call("global-concurrency-limit", "create", TEACHER_LIMIT, "--limit", "1")
        self.call("deploy", "--all")
        self.worker = self.start("worker", "start", "--pool", "kpod")
        self.started.append(self.worker)

    def call(self, *arguments: str) -> str:
        """What `prefect ...` says."""
        command = [*PREFECT, "--no-prompt", *arguments]
        done = subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen:
        log = (self.folder / f"{arguments[0]}.log").open("w")
        return subprocess.Popen(
            [*PREFECT, *arguments], env=self.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )

    def run(self, deployment: str, **parameters: object) -> str:
        """Start a run of a deployment and return its id."""
        found = ask(f"{self.api}/deployments/name/{deployment}")["id"]
        return str(ask(f"{self.api}/deployments/{found}/create_flow_run", {"parameters": parameters})["id"])

    def state(self, run: str) -> str:
        return str(ask(f"{self.api}/flow_runs/{run}")["state"]["type"])

    def reach(self, run: str, state: str) -> None:
        """Wait for a state; a run that ends in another one fails the test."""

        def there() -> bool:
            found = self.state(run)
            assert found == state or found not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), found
            return found == state

        until(there, f"{run}: {state}")

    def hold_the_teacher(self) -> Callable[[], object]:
        """Take the teacher's one slot; the function that is returned gives it back."""
        limits = f"{self.api}/v2/concurrency_limits"
        asked = {"names": [TEACHER_LIMIT], "slots": 1, "mode": "concurrency", "lease_duration": 3600}
        held = ask(f"{limits}/increment-with-lease", asked)["lease_id"]
        return lambda: ask(f"{limits}/decrement-with-lease", {"lease_id": held})

    def wanting_the_teacher(self) -> int:
        """How many runs are in their stage of rationales, most of all those that wait for the teacher's slot."""
        asked = {"task_runs": {"name": {"like_": "rationales"}, "state": {"type": {"any_": ["RUNNING"]}}}}
        return len(ask(f"{self.api}/task_runs/filter", asked))

    def only_process(self) -> Path:
        """The process of the one run that is left, once those of finished runs have gone."""
        children = Path(f"/proc/{self.worker.pid}/task/{self.worker.pid}/children")
        until(lambda: len(children.read_text().split()) == 1, "that one run is left")
        return Path("/proc", children.read_text().strip())

    def stop(self) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    made = Stand(tmp_path_factory.mktemp("stand"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def runs(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives the MLflow runs of the worker's state folder with a stage's name."""
    monkeypatch.setenv("KPOD_HOME", str(stand.home))

    def of(stage: str, status: str = "FINISHED") -> list[Any]:
        api = tracking.client()
        query = f"tags.`kpod.stage` = '{stage}' and attributes.status = '{status}'"
        return list(api.search_runs([tracking.experiment_id(api)], query, order_by=["attributes.start_time"]))

    return of


def with_teacher(seed: int) -> dict[str, Any]:
    return {**TINY, "methods": ["kpod"], "teacher": {"endpoint": {"kind": "scripted", "seed": seed}}}


def test_parameters_are_a_typed_form_and_one_pipeline_asks_the_teacher_at_a_time(stand: Stand, runs: Any) -> None:
    shown = json.loads(stand.call("deployment", "inspect", "kpod/full-pipeline", "--output", "json"))
    form = shown["parameter_openapi_schema"]
    assert {"config", "refresh", "until"} <= form["properties"].keys()
    assert "alpha" in form["definitions"]["Weights"]["properties"]
    assert form["definitions"]["Weights"]["additionalProperties"] is False  # an unknown key is refused by the form

    free = stand.hold_the_teacher()
    told = json.dumps({"config": with_teacher(1), "until": "steps"})
    said = stand.call("deployment", "run", "kpod/full-pipeline", "--params", told)
    whole = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)[0]
    stage = stand.run("kpod/rationales", config=with_teacher(2))
    until(lambda: stand.wanting_the_teacher() == 2, "that both pipelines want the teacher")
    assert runs("rationales", "RUNNING") == runs("rationales") == []
    free()
    for run in (whole, stage):
        stand.reach(run, "COMPLETED")
    first, second = runs("rationales")
    assert first.info.end_time <= second.info.start_time
    limit = f"{stand.api}/v2/concurrency_limits/{TEACHER_LIMIT}"
    until(lambda: ask(limit)["active_slots"] == 0, "that the slot is free")


def test_a_stages_deployment_computes_that_stage_alone_again(stand: Stand, runs: Any) -> None:
    before = {stage: len(runs(stage)) for stage in ("questions", "rationales", "steps")}
    stand.reach(stand.run("kpod/steps", config=with_teacher(1)), "COMPLETED")
    assert {stage: len(runs(stage)) for stage in before} == {**before, "steps": before["steps"] + 1}
    assert len({run.data.tags["kpod.sha256"] for run in runs("steps")}) == 1


@pytest.mark.slow  # minutes: every process imports everything
def test_every_deployment_runs_to_its_end(stand: Stand, runs: Any) -> None:
    """The whole pipeline with the parameters that `kpod recipes params` prints, each stage again, and a sweep."""
    command = [sys.executable, "-m", "kpod.cli", "recipes", "params", str(ROOT / "tests" / "tiny.yaml")]
    said = subprocess.run(command, env=stand.env, capture_output=True, text=True, check=True).stdout
    told = json.loads(said)
    stand.reach(stand.run("kpod/full-pipeline", **told), "COMPLETED")
    assert len(runs("report")) == 1
    for stage in STAGES:
        before = len(runs(stage))
        stand.reach(stand.run(f"kpod/{stage}", **told), "COMPLETED")
        assert len(runs(stage)) > before, stage
    sweep = yaml.safe_load((ROOT / "tests" / "tiny_sweep.yaml").read_text())
    stand.reach(stand.run("kpod-compare/sweep", sweep=sweep), "COMPLETED")
    assert runs("arm")


def test_new_data_starts_a_run_on_the_gpu_which_others_wait_for(stand: Stand, tmp_path: Path) -> None:
    lock = FlockManager(stand.home / "locks")  # keeps the runs of this test where they are as long as it wants
    lock.acquire_lock("retrain-wordproblems", "test")
    (tmp_path / "new.jsonl").write_text(json.dumps({"id": "1", "question": "What is 2 plus 2?", "answer": "4"}))
    command = [
        sys.executable,
        "-m",
        "kpod.cli",
        "add",
        str(tmp_path / "new.jsonl"),
        "--folder",
        str(tmp_path / "in"),
    ]
    said = subprocess.run(command, env=stand.env, capture_output=True, text=True, check=True).stdout
    assert "announced" in said
    asked = {"deployments": {"name": {"any_": ["on-data"]}}}
    until(lambda: ask(f"{stand.api}/flow_runs/filter", asked), "the run that the event starts")
    (triggered,) = ask(f"{stand.api}/flow_runs/filter", asked)
    assert triggered["parameters"]["address"] == str(tmp_path / "in")
    stand.reach(triggered["id"], "RUNNING")

    nightly = stand.run("kpod-retrain/nightly")
    stand.reach(stand.run("kpod/steps", config=with_teacher(1), refresh=[]), "COMPLETED")  # not on the GPU's queue
    assert (stand.state(triggered["id"]), stand.state(nightly)) == ("RUNNING", "SCHEDULED")

    process = stand.only_process()
    ask(f"{stand.api}/flow_runs/{triggered['id']}/set_state", {"state": {"type": "CANCELLING"}})
    stand.reach(triggered["id"], "CANCELLED")
    until(lambda: not process.exists(), "the end of the cancelled run's process")
    stand.reach(nightly, "RUNNING")
    lock.release_lock("retrain-wordproblems", "test")
    stand.reach(nightly, "COMPLETED")


def test_a_run_ends_with_its_worker(stand: Stand) -> None:
    """The last test of this file: it kills the worker."""
    stand.hold_the_teacher()  # and the run can't get past this
    stand.run("kpod/full-pipeline", config=with_teacher(3), until="steps")
    until(lambda: stand.wanting_the_teacher() == 1, "that the run wants the teacher")
    process = stand.only_process()
    stand.worker.kill()
    until(lambda: not process.exists(), "the end of the run without its worker")
