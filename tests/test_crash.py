"""A kill between the publication of a stage's folder and its upload loses nothing; real SIGKILL, real MLflow."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from configs import pipeline

from kpod import tracking
from kpod.run import stages
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef

ROOT = Path(__file__).parent.parent
SOURCE = {"kind": "wordproblems", "train": 3, "validation": 0, "test": 1, "longer": 0}
CONFIG = pipeline({"questions": {"sources": [SOURCE]}})
# The stage is run with an upload that dies as the out-of-memory killer or a pulled plug would have it.
DIE = """
import os, signal, sys
from kpod import tracking
from kpod.config import Pipeline
from kpod.run import stages
tracking.TrackedRun.upload = lambda self, folder: os.kill(os.getpid(), signal.SIGKILL)
config = Pipeline.model_validate_json(sys.argv[1])
stages.execute(stages.STAGES["questions"], config, {}, None, {})
"""


def execute(**options: bool) -> ArtifactRef:
    return stages.execute(stages.STAGES["questions"], CONFIG, {}, None, {}, **options)


@pytest.fixture
def killed(kpod_home: Path) -> Path:
    """A state folder after such a kill; returns the published folder."""
    kpod_home.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DIE, CONFIG.model_dump_json()], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (folder,) = (kpod_home / "artifacts" / "questions").iterdir()
    return folder


def test_a_published_folder_that_mlflow_never_saw_is_stored_and_not_computed_again(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stages.recorded(killed.name) is None
    computed: list[int] = []
    real = stages.import_module
    monkeypatch.setattr(
        stages, "import_module", lambda name: SimpleNamespace(run=lambda *a: computed.append(1) or real(name).run(*a))
    )
    ref = execute()
    assert not computed
    assert stages.recorded(ref.key) == ref
    assert tracking.final_metrics(ref.run_id)["questions.questions"] == 4
    api = tracking.client()
    statuses = [run.info.status for run in api.search_runs([tracking.experiment_id(api)])]
    assert sorted(statuses) == ["FINISHED", "KILLED"]  # the dead run does not say RUNNING for ever

    (killed / "questions.parquet").write_bytes(b"PAR1")  # what does not verify is not adopted
    assert artifacts.sealed("questions", ref.key) is None
    assert execute().sha256 == ref.sha256
    assert computed == [1]
    execute(refresh=True)  # on request it is computed whatever lies there
    assert computed == [1, 1]


def test_two_that_miss_the_same_bytes_bring_them_once(kpod_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = execute()
    shutil.rmtree(artifacts.folder_of(ref.stage, ref.key))
    brought: list[Path] = []
    both, real = threading.Barrier(2), tracking.download

    def download(uri: str, destination: Path) -> bool:
        brought.append(destination)
        return real(uri, destination)

    def fetch(_: int) -> Path | None:
        both.wait()
        return tracking.fetch(ref)

    monkeypatch.setattr("kpod.tracking.fetching.download", download)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(fetch, range(2)))
    assert found == [artifacts.folder_of(ref.stage, ref.key)] * 2
    assert len(brought) == 1
    assert not list((kpod_home / "work").iterdir())
