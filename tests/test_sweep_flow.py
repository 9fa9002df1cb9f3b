"""A sweep for real: killed and started again, every shared stage computed once, and what it leaves to look at."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from PIL import Image
from typer.testing import CliRunner

from kpod import tracking
from kpod.cli.app import app

SWEEP = Path(__file__).parent / "tiny_sweep.yaml"
TRAINED = ("scotd", "kpod", "no-diversity")
LABELS = {"base", *(f"{name}/s{seed}" for name in TRAINED for seed in (0, 1))}


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kpod.cli", "sweep", str(SWEEP)],
        env={**os.environ, "KPOD_HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, set[str]]:
    """A state folder, what the second of two attempts said, and the students that the killed first one made."""
    home = tmp_path_factory.mktemp("sweep") / "home"
    first = start(home)
    while first.poll() is None and not list(home.glob("artifacts/evaluate/*")):
        time.sleep(0.05)
    assert first.poll() is None, first.communicate()[1]
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    done = {folder.name for folder in home.glob("artifacts/distill/*")}
    last = start(home)
    said, complaint = last.communicate()
    assert last.returncode == 0, complaint
    return home, said, done


@pytest.fixture
def home(swept: tuple[Path, str, set[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPOD_HOME", str(swept[0]))
    return swept[0]


def finished() -> list[Run]:
    api = tracking.client()
    return list(api.search_runs([tracking.experiment_id(api)], "attributes.status = 'FINISHED'", max_results=500))


def test_what_the_arms_share_is_computed_once_over_all_attempts(home: Path, swept: tuple[Path, str, set[str]]) -> None:
    stages = [run.data.tags["kpod.stage"] for run in finished() if "kpod.cache_key" in run.data.tags]
    assert Counter(stages) == {
        "questions": 1, "rationales": 1, "steps": 1, "base": 1, "tokens": 1, "weights": 1, "difficulty": 1,
        "curriculum": 2,  # the variant has one of its own
        "distill": 6, "evaluate": 7, "sweep": 1,
    }  # fmt: skip
    computed = next(line for line in swept[1].splitlines() if line.startswith("computed: "))
    assert swept[2]
    assert computed.count("distill") == 6 - len(swept[2])  # the second attempt went on where the killed one was
    assert "rationales" not in computed


def test_one_parent_holds_an_arm_each_with_tags_and_metrics_to_compare(home: Path) -> None:
    runs = finished()
    (parent,) = [run for run in runs if run.data.tags["kpod.stage"] == "sweep" and "kpod.methods" not in run.data.tags
                 and "kpod.cache_key" not in run.data.tags]  # fmt: skip
    arms = {run.info.run_name: run for run in runs if run.data.tags["kpod.stage"] == "arm"
            and run.data.tags["mlflow.parentRunId"] == parent.info.run_id}  # fmt: skip
    assert arms.keys() == LABELS
    one = arms["no-diversity/s1"]
    assert {name: one.data.tags[f"kpod.{name}"] for name in ("method", "variant", "dataset", "student", "seed")} == {
        "method": "kpod", "variant": "no-diversity", "dataset": "wordproblems", "student": "scratch", "seed": "1",
    }  # fmt: skip
    assert one.data.params["distill.seed"] == "1"
    assert one.data.params["curriculum.beta"] == "0.0"
    assert {"accuracy", "accuracy.wordproblems.test", "truncated"} <= one.data.metrics.keys()
    assert "accuracy.wordproblems.test.kpod" in parent.data.metrics
    tokens = [point.step for point in tracking.client().get_metric_history(one.info.run_id, "loss")]
    history = pq.read_table(next(home.glob("artifacts/distill/*/history.parquet")))
    assert tokens == sorted(set(tokens))
    assert len(tokens) == len(history)  # a short curve is kept whole, over target tokens
    assert min(tokens) > len(history)


def test_the_leaderboard_is_an_artifact_of_the_sweeps_run(home: Path, swept: tuple[Path, str, set[str]]) -> None:
    run_id = next(line.split()[1] for line in swept[1].splitlines() if line.startswith("Run "))
    api = tracking.client()
    assert {"leaderboard.html", "leaderboard.json", "accuracy.png"} <= {f.path for f in api.list_artifacts(run_id)}
    table = api.load_table(tracking.experiment_id(api), "leaderboard.json", [run_id])
    assert len(table) == 8
    assert set(table["variant"]) == {"base", *TRAINED}
    assert table.loc[table["variant"] == "kpod", "cpu_seconds"].gt(0).all()
    assert "| variant | asked |" in tracking.get_run(run_id).data.tags["mlflow.note.content"]


def test_the_table_is_markdown_parquet_and_a_picture(home: Path, swept: tuple[Path, str, set[str]]) -> None:
    (folder,) = (home / "artifacts" / "sweep").iterdir()
    rows = pq.read_table(folder / "table.parquet").to_pylist()
    assert [row["variant"] for row in rows] == ["base", *TRAINED] * 2
    assert {row["variant"]: row["seeds"] for row in rows} == {"base": 1, **dict.fromkeys(TRAINED, 2)}
    assert all((row["p_value"] is None) == (row["variant"] == "scotd") for row in rows)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)
    assert {row["variant"]: row["target_tokens"] > 0 for row in rows} == {
        "base": False, **dict.fromkeys(TRAINED, True),
    }  # fmt: skip
    assert (folder / "table.md").read_text() in swept[1]
    with Image.open(folder / "accuracy.png") as image:
        assert image.width > 800
    assert str(home) not in (folder / "table.md").read_text()


def test_arms_are_compared_by_their_label(home: Path, swept: tuple[Path, str, set[str]], tmp_path: Path) -> None:
    run_id = next(line.split()[1] for line in swept[1].splitlines() if line.startswith("Run "))
    picture = tmp_path / "flips.png"
    done = CliRunner().invoke(
        app, ["compare", f"{run_id}/base", f"{run_id}/kpod/s1", "--figure", str(picture)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "| wordproblems test | 4 |" in done.stdout
    assert "| steps | questions | A | B |" in done.stdout
    with Image.open(picture) as image:
        assert image.height > 300
