"""The flow for real: Prefect's embedded server, MLflow on SQLite, every stage on a tiny configuration."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run

from kpod import schemas, tracking
from kpod.config import Weights
from kpod.run import results, stages
from kpod.run.results import references

TINY = Path(__file__).parent / "tiny.yaml"
STAGES = {
    *(
        "questions",
        "rationales",
        "steps",
        "base",
        "tokens",
        "weights",
        "difficulty",
        "curriculum",
        "distill",
        "evaluate",
    )
}
FILES = {
    "questions": {"questions.parquet": schemas.QUESTIONS},
    "rationales": {"rationales.parquet": schemas.RATIONALES},
    "steps": {"steps.parquet": schemas.STEPS},
    "weights": {"weights.parquet": schemas.WEIGHTS},
    "difficulty": {"difficulty.parquet": schemas.DIFFICULTY},
    "curriculum": {"curriculum.parquet": schemas.CURRICULUM, "clusters.parquet": schemas.CLUSTERS},
    "distill": {"history.parquet": schemas.HISTORY},
    "evaluate": {"predictions.parquet": schemas.PREDICTIONS},
}


def kpod_run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kpod.cli", "run", str(TINY), *arguments],
        env={**os.environ, "KPOD_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def computed(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("computed: "))
    return set() if "nothing" in line else set(line.removeprefix("computed: ").split(", "))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A state folder after one whole run."""
    home = tmp_path_factory.mktemp("flow") / "home"
    return home, kpod_run(home)


@pytest.fixture
def home(first: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    assert first[1].returncode == 0, first[1].stderr
    monkeypatch.setenv("KPOD_HOME", str(first[0]))
    return first[0]


def test_every_stage_runs_and_the_table_names_the_methods(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    names = computed(first[1])
    assert {name.split()[0] for name in names} == STAGES | {"report"}
    assert {"distill (scotd)", "distill (kpod)", "evaluate (base)"} <= names
    assert sum(name.startswith("rationales") for name in names) == 1  # shared by the methods
    for word in ("base", "scotd", "kpod", "mlflow server", "prefect server start"):
        assert word in first[1].stdout


def test_every_contract_file_is_written_and_fits_its_schema(home: Path) -> None:
    for stage, files in FILES.items():
        for folder in (home / "artifacts" / stage).iterdir():
            for name, schema in files.items():
                assert len(schemas.read(folder / name, schema)), f"{stage}/{name} is empty"
    for folder in (home / "artifacts" / "evaluate").iterdir():
        assert "accuracy" in (folder / "metrics.json").read_text()
        assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert not list((home / "work").iterdir())


def test_keys_match_across_the_stages(home: Path) -> None:
    def keys(stage: str, name: str) -> set[tuple[str, int]]:
        (folder,) = (home / "artifacts" / stage).iterdir()
        rows = schemas.read(folder / name, FILES[stage][name]).select(["question_id", "sample"]).to_pylist()
        return {(row["question_id"], row["sample"]) for row in rows}

    steps = keys("steps", "steps.parquet")
    assert steps == keys("weights", "weights.parquet") == keys("difficulty", "difficulty.parquet")
    assert steps == keys("curriculum", "curriculum.parquet") == keys("curriculum", "clusters.parquet")


def family() -> tuple[Run, dict[str, Run], list[Run]]:
    """The first pipeline's run, those of its methods, and those of its stages."""
    api = tracking.client()
    found = api.search_runs([tracking.experiment_id(api)], max_results=500)
    (parent,) = [r for r in found if r.data.tags["kpod.stage"] == "pipeline" and r.info.status == "FINISHED"][-1:]
    below = [r for r in found if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    methods = {r.info.run_name: r for r in below if r.data.tags["kpod.stage"] == "method"}
    ids = {r.info.run_id for r in methods.values()}
    stages = [r for r in found if r.data.tags.get("mlflow.parentRunId") in ids]
    return parent, methods, [*stages, *(r for r in below if r.data.tags["kpod.stage"] == "report")]


def test_mlflow_has_one_parent_a_run_a_method_and_below_it_one_a_stage_with_inputs_and_artifacts(home: Path) -> None:
    api = tracking.client()
    parent, methods, nested = family()
    assert methods.keys() == {"base", "scotd", "kpod"}
    assert {r.data.tags["kpod.stage"] for r in nested} == STAGES | {"report"}
    by_stage = {r.data.tags["kpod.stage"]: r for r in nested}
    inputs = by_stage["weights"].inputs.dataset_inputs
    assert {i.dataset.name for i in inputs} == {"questions", "rationales", "base", "tokens"}
    assert all(len(i.dataset.digest) == 12 for i in inputs)
    assert by_stage["weights"].data.params["weights.alpha"] == str(Weights().alpha)
    assert {a.path for a in api.list_artifacts(by_stage["steps"].info.run_id, "output")} == {"output/steps.parquet"}
    assert "accuracy.kpod" in parent.data.metrics
    common = {"kpod.dataset": "wordproblems", "kpod.student": "scratch", "kpod.seed": "0"}
    for one in (parent, *nested):
        assert common.items() <= one.data.tags.items()
    assert {r.data.tags["kpod.method"] for r in nested if r.data.tags["kpod.stage"] == "distill"} == {"scotd", "kpod"}
    assert references(parent.info.run_id)["kpod.weights"].run_id == by_stage["weights"].info.run_id
    charted = [(m.step, m.value) for m in api.get_metric_history(by_stage["distill"].info.run_id, "loss")]
    folder = home / "artifacts" / "distill" / by_stage["distill"].data.tags["kpod.cache_key"]
    history = pq.read_table(folder / "history.parquet").to_pylist()
    assert charted == [(row["tokens"], pytest.approx(row["loss"])) for row in history]


def test_a_methods_run_carries_what_people_compare(home: Path) -> None:
    api = tracking.client()
    parent, methods, nested = family()
    kpod = methods["kpod"]
    last = {r.data.tags["kpod.method"]: r for r in nested if r.data.tags["kpod.stage"] in ("evaluate", "report")}
    for name, run in methods.items():  # its duration is that of its stages, not of the pipeline
        assert last[name].info.end_time <= run.info.end_time <= last["all"].info.start_time
    ends = {
        f"{name}{of}" for name in ("accuracy", "accuracy_low", "accuracy_high") for of in ("", ".wordproblems.test")
    }
    costs = {"target_tokens", "rationales_a_question", "cpu_seconds", "wall_seconds", "preparation_seconds"}
    assert ends | costs | {"left_out"} <= kpod.data.metrics.keys()
    assert "left_out" not in methods["scotd"].data.metrics
    assert kpod.data.params["distill.progressive"] != methods["scotd"].data.params["distill.progressive"]
    for run in (parent, kpod):
        assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"questions", "rationales"}
        assert not [tag for tag in run.data.tags if tag.startswith("kpod.ref")]
        files = {file.path for file in api.list_artifacts(run.info.run_id)}
        assert "references.json" in files
    assert {"report.html", "figures", "config.json"} <= {file.path for file in api.list_artifacts(parent.info.run_id)}
    told = parent.data.tags["mlflow.note.content"]
    for text in ("**kpod ", "| kpod | wordproblems test |", "| kpod - scotd |", "/artifacts/report.html"):
        assert text in told
    assert len(parent.outputs.model_outputs) == 2
    [linked] = kpod.outputs.model_outputs
    assert api.get_logged_model(linked.model_id).source_run_id == references(parent.info.run_id)["kpod.distill"].run_id
    kind = api.get_experiment(parent.info.experiment_id).tags["mlflow.experimentKind"]
    assert kind == "custom_model_development"
    assert results.result_of(kpod.info.run_id, "distill") == references(parent.info.run_id)["kpod.distill"]


def test_a_registered_student_loads_from_bytes_that_are_stored_once(home: Path) -> None:
    import mlflow

    api = tracking.client()
    version = api.get_model_version_by_alias("kpod-student-wordproblems", "challenger")
    stored = Path(home / "mlflow" / "artifacts" / version.run_id / "artifacts")
    assert len(list(stored.rglob("*.safetensors"))) == 1
    model = mlflow.pyfunc.load_model("models:/kpod-student-wordproblems@challenger")
    assert isinstance(model.predict(["A box holds 3 pens. How many pens are in 4 boxes?"])[0], str)
    assert model.metadata.signature is not None
    assert "distilled by `kpod`" in version.description
    assert {"kpod.method", "kpod.dataset", "kpod.accuracy", "kpod.accuracy.wordproblems.test"} <= version.tags.keys()
    assert "**wordproblems**" in api.get_registered_model("kpod-student-wordproblems").description


def test_students_are_registered_and_the_last_method_is_the_challenger(home: Path) -> None:
    api = tracking.client()
    versions = api.search_model_versions("name = 'kpod-student-wordproblems'")
    assert {v.tags["kpod.method"] for v in versions} == {"scotd", "kpod"}
    challenger = api.get_model_version_by_alias("kpod-student-wordproblems", "challenger")
    assert challenger.tags["kpod.method"] == "kpod"


def test_a_second_run_executes_nothing_and_links_the_cached_stages(home: Path) -> None:
    done = kpod_run(home)
    assert computed(done) == set()
    run_id = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("Run "))
    assert results.result_of(f"{run_id}/kpod", "distill").stage == "distill"
    assert results.predictions_of(run_id).num_rows == 6


def test_refresh_recomputes_that_stage_and_only_what_really_changed(home: Path) -> None:
    # Training is deterministic: the same bytes come out, so no evaluation has to be repeated.
    names = computed(kpod_run(home, "--refresh", "distill"))
    assert names - {"report (all)"} == {"distill (scotd)", "distill (kpod)"}


def test_a_changed_setting_recomputes_from_its_stage_on(home: Path) -> None:
    names = computed(kpod_run(home, "--set", "curriculum.p=0.7", "--set", "methods=[kpod]"))
    assert "curriculum (kpod)" in names
    assert not {name.split()[0] for name in names} & {"questions", "rationales", "steps", "base", "tokens", "weights"}


def test_until_stops_early(home: Path) -> None:
    names = computed(kpod_run(home, "--set", "difficulty.temperature=0.5", "--until", "difficulty"))
    assert {name.split()[0] for name in names} == {"difficulty"}


def test_bytes_that_are_gone_come_back_from_mlflow(home: Path) -> None:
    shutil.rmtree(home / "artifacts" / "weights")
    assert computed(kpod_run(home)) == set()
    assert list((home / "artifacts" / "weights").iterdir())


def test_bytes_that_were_altered_everywhere_are_a_miss_with_a_warning(home: Path) -> None:
    for path in [
        *home.glob("artifacts/steps/*/steps.parquet"),
        *home.glob("mlflow/artifacts/*/artifacts/output/steps.parquet"),
    ]:
        path.write_bytes(b"PAR1")
    done = kpod_run(home)
    # The same bytes again: nothing but the report, which names the new run, changed.
    assert {name.split()[0] for name in computed(done)} == {"steps", "report"}
    assert "steps is gone or altered" in done.stderr


def test_a_new_home_with_the_same_mlflow_computes_nothing(home: Path, tmp_path: Path) -> None:
    """As on another machine: the cache is empty, the lasting copies are in MLflow."""
    uri = f"sqlite:///{home}/mlflow/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-m", "kpod.cli", "run", str(TINY)],
        env={**os.environ, "KPOD_HOME": str(tmp_path / "other"), "MLFLOW_TRACKING_URI": uri},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert computed(done) == set()


def test_two_runs_that_start_together_on_nothing_compute_each_stage_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "kpod.cli", "run", str(TINY), "--until", "steps"]
    both = [
        subprocess.Popen(command, env={**os.environ, "KPOD_HOME": str(home)}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    names = [next(x for x in out.splitlines() if x.startswith("computed: ")) for out in lines]
    assert sum("rationales" in name for name in names) == 1
    assert sum("steps" in name for name in names) == 1


def test_summary_json_holds_the_figures_of_the_table(home: Path) -> None:
    for folder in (home / "artifacts" / "report").iterdir():
        summary = json.loads((folder / "summary.json").read_text())
        assert {row["method"] for row in summary["accuracy"]} <= {"base", "scotd", "kpod"}
        assert (folder / "report.html").stat().st_size > 10_000
    assert set(stages.STAGES) >= set(FILES)
