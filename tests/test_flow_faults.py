"""What stops a pipeline: found before anything is trained, or killed in the middle and taken up again."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from configs import pipeline, scripted
from server_tools import until
from test_flow import TINY, computed, kpod_run

from flows.session import Session
from kpod import tracking
from kpod.config import Curriculum, FolderStudent, GgufStudent, SentenceEmbedder, TeacherPrompt
from kpod.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "teacher.endpoint={kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key_env: null}",
            "kpod: teacher.endpoint.base_url: http://127.0.0.1:9/v1 cannot be reached",
        ),
        (
            "student={kind: hub, name: nobody/nothing}",
            "kpod: student.name: nobody/nothing cannot be loaded from the hub",
        ),
    ],
)
def test_what_cannot_be_reached_is_one_line_before_any_training(tmp_path: Path, setting: str, message: str) -> None:
    home = tmp_path / "home"
    done = kpod_run(home, "--set", "teacher.model=m", "--set", setting)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
    assert {path.name for path in (home / "artifacts").glob("*")} <= {"questions"}  # nothing was asked or trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": FolderStudent(path=Path("model"))}, "student.path: model is not a complete model folder: no tok"),
        ({"student": GgufStudent(package="no_such_package")}, "student.package: no_such_package is not installed"),
        ({"teacher": scripted(prompt=TeacherPrompt(examples=Path("no.jsonl")))}, "teacher.prompt.examples: no.jsonl"),
        (
            {"curriculum": Curriculum(embedder=SentenceEmbedder(name="a/b"), epochs=10)},
            "curriculum.embedder: sentence-transformers is missing",
        ),
    ],
)
def test_what_is_missing_stops_the_run_before_its_first_stage(
    changes: dict[str, Any], message: str, tmp_path: Path, kpod_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model", "config.json").write_text("{}")
    Path("model", "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"), Session(pipeline().model_copy(update=changes)):
        pass
    assert not (kpod_home / "mlflow").exists()


def session(leader: int) -> list[Path]:
    """The living processes of the session that a process opened."""

    def belongs(stat: Path) -> bool:
        try:
            state, _, _, found = stat.read_text().rpartition(")")[2].split()[:4]
        except FileNotFoundError:
            return False
        return state != "Z" and int(found) == leader

    return [stat for stat in Path("/proc").glob("[0-9]*/stat") if belongs(stat)]


def test_a_pipeline_killed_while_it_trains_goes_on_at_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    # Saved after every step, and long enough to be met in the middle.
    settings = ["methods=[scotd]", "distill.budget={epochs: 60}", "distill.checkpoint_seconds=0.001"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kpod.cli", "run", str(TINY), *arguments],
        env={**os.environ, "KPOD_HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not list(home.glob("work/distill-*/work/checkpoint-*")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    until(lambda: not session(process.pid), "the end of the teacher and of the embedded server")
    reached = max(int(path.name.split("-")[1]) for path in home.glob("work/distill-*/work/checkpoint-*"))

    names = computed(kpod_run(home, *arguments))
    assert {name.split()[0] for name in names} == {"distill", "evaluate", "report"}

    monkeypatch.setenv("KPOD_HOME", str(home))
    api = tracking.client()
    trainings = api.search_runs([tracking.experiment_id(api)], "tags.`kpod.stage` = 'distill'")
    assert {run.info.status for run in trainings} == {"FINISHED", "KILLED"}
    (finished,) = [run for run in trainings if run.info.status == "FINISHED"]
    first = min(metric.step for metric in api.get_metric_history(finished.info.run_id, "loss"))
    history = pq.read_table(next(home.glob("artifacts/distill/*/history.parquet")))
    assert history["tokens"].to_pylist().index(first) == reached
    everything = api.search_runs([tracking.experiment_id(api)], max_results=500)
    assert {run.info.status for run in everything} == {"FINISHED", "KILLED"}  # the killed pipeline's own run too
    assert not list((home / "work").iterdir())
    assert not list((home / "alive" / "mlflow").iterdir())
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        states = database.execute("SELECT state_type FROM flow_run ORDER BY start_time").fetchall()
    assert states == [("CRASHED",), ("COMPLETED",)]  # the killed one blocks nothing

    # Where the same training is not interrupted, it ends with the same bytes.
    other = tmp_path / "other"
    assert kpod_run(other, *arguments, "--until", "distill").returncode == 0
    students = [next((root / "artifacts" / "distill").iterdir()) / "student" for root in (home, other)]
    assert (students[0] / "model.safetensors").read_bytes() == (students[1] / "model.safetensors").read_bytes()
