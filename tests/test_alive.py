"""Runs whose process dies without a word are told from those that live."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from kpod import tracking
from kpod.store import liveness

HOLD = """
import sys
from kpod.store import liveness
with liveness.alive("mlflow", sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_dead_once_its_process_was_killed_and_not_before() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with liveness.alive("mlflow", "b"):
        assert liveness.dead_runs("mlflow") == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert liveness.dead_runs("mlflow") == ["a"]
    assert sorted(liveness.dead_runs("mlflow")) == ["a", "b"]  # b too, until its end is recorded
    for run_id in ("a", "b"):
        liveness.forget("mlflow", run_id)
    assert liveness.dead_runs("mlflow") == []


def test_the_next_run_ends_the_dead_one_in_mlflow() -> None:
    api = tracking.client()
    orphan = api.create_run(tracking.experiment_id(api)).info.run_id
    for run_id in (orphan, "0" * 32):  # MLflow does not know the second
        with liveness.alive("mlflow", run_id):
            pass
    with tracking.run("next", {}, {}):
        assert api.get_run(orphan).info.status == "KILLED"
        assert liveness.dead_runs("mlflow") == []


def test_a_run_that_could_not_tell_its_end_is_ended_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise MlflowException("the server does not answer")

    with pytest.raises(MlflowException), monkeypatch.context() as patch, tracking.run("cut off", {}, {}) as run:
        patch.setattr(MlflowClient, "set_terminated", away)
    api = tracking.client()
    assert api.get_run(run.run_id).info.status == "RUNNING"
    with tracking.run("next", {}, {}) as following:
        assert api.get_run(run.run_id).info.status == "KILLED"
    assert api.get_run(following.run_id).info.status == "FINISHED"
    assert liveness.dead_runs("mlflow") == []


def test_a_client_leaves_no_address_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tracking.client()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("KPOD_HOME", str(tmp_path / "another"))
    assert str(tmp_path / "another") in tracking.client().tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/asked.db")
    assert tracking.client().tracking_uri == os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/asked.db"
