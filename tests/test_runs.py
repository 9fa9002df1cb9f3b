"""Runs are found by id, the beginning of one or a name, and read without importing MLflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kpod import tracking
from kpod.cli.app import app
from kpod.errors import ConfigError
from kpod.run.listing import age
from kpod.run.results import find

runner = CliRunner()


def make(name: str, stage: str = "pipeline", **metrics: float) -> str:
    tags = {"kpod.stage": stage, "kpod.methods": "base,kpod"}
    with tracking.run(name, {"distill.lr": "0.1"}, tags) as run:
        run.metrics(metrics)
    return run.run_id


def test_a_run_is_read_as_mlflow_has_it(kpod_home: Path) -> None:
    run_id = make("first", **{"accuracy.base": 0.12, "accuracy.kpod": 0.61})
    run, entity = tracking.get_run(run_id), tracking.client().get_run(run_id)
    assert vars(run.data) == {name: dict(getattr(entity.data, name)) for name in ("tags", "params", "metrics")}
    assert vars(run.info) == {name: getattr(entity.info, name) for name in vars(run.info)}
    assert tracking.get_run("0" * 32) is None


def test_a_run_is_found_by_a_beginning_and_by_name(kpod_home: Path) -> None:
    old, new, stage = make("same"), make("same"), make("distill", "distill")
    assert find(old).info.run_id == find(old[:12]).info.run_id == old
    assert find("same").info.run_id == new
    assert find(stage).info.run_id == stage  # a stage's own run by its whole id alone
    for unknown in ("nothing", "", stage[:12]):
        with pytest.raises(ConfigError, match="kpod runs lists what is there"):
            find(unknown)


def test_a_beginning_of_several_ids_is_refused(kpod_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [tracking.get_run(make("one")), tracking.get_run(make("two"))]
    monkeypatch.setattr(tracking, "runs_of", lambda stages: [*runs, runs[0]])
    with pytest.raises(ConfigError, match="2 runs begin with"):
        find(runs[0].info.run_id[:8])


def test_runs_lists_pipelines_and_sweeps_the_newest_first(kpod_home: Path) -> None:
    assert "kpod demo" in runner.invoke(app, ["runs"], catch_exceptions=False).stdout
    first = make("first", **{"accuracy.base": 0.12, "accuracy.kpod": 0.61})
    second = make("second", "sweep")
    make("distill", "distill")
    lines = runner.invoke(app, ["runs"], catch_exceptions=False).stdout.splitlines()
    assert lines[2].startswith(f"| {second[:8]} | second |")
    assert lines[3].startswith(f"| {first[:8]} | first | base, kpod | 61.0% | finished |")
    assert len(lines) <= 5
    assert runner.invoke(app, ["runs", "-n", "1"]).stdout.count("second") == 1


def test_listing_runs_imports_neither_mlflow_nor_torch(kpod_home: Path) -> None:
    make("first")
    code = (
        "import sys; from kpod.run.listing import listing; assert listing(5);"
        " print([m for m in ('mlflow', 'torch', 'prefect', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (70, "1 min"), (3 * 3600, "3 h"), (30 * 3600, "30 h"), (90 * 3600, "4 days")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
