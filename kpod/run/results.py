"""Results of earlier runs: `RUN`, `RUN/METHOD` of a pipeline, or `RUN/LABEL` of a sweep's arm.

RUN is an MLflow run id, the beginning of one, or the name of a run, which means the newest of that name.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod import schemas, tracking
from kpod.config import Form
from kpod.errors import ConfigError
from kpod.run import stages
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.text.stops import STOPS

REF = "kpod.ref"  # parent runs link their stages by tags `kpod.ref.<method>.<stage>` -> run id
TOOK = ("wall_seconds", "cpu_seconds", "target_tokens", "epochs", "cost_usd")
PARENTS = ("pipeline", "sweep")  # what the tag kpod.stage of a run says that people name
CONFIG = "config.json"  # parent runs hold the whole configuration under this name


def find(name: str) -> tracking.Run:
    """The run of this id; else the pipeline or sweep whose id begins so, or the newest one of that name.

    Raises ConfigError if there is none, or if several ids begin so.
    """
    if (run := tracking.get_run(name)) is not None:
        return run
    runs = tracking.runs_of(PARENTS) if name else []
    matching = [one for one in runs if one.info.run_id.startswith(name)]
    if len(matching) > 1:
        raise ConfigError(f"{len(matching)} runs begin with {name}: {', '.join(one.info.run_id for one in matching)}")
    named = [one for one in runs if one.info.run_name == name]
    if not matching and not named:
        raise ConfigError(f"no MLflow run {name} at {tracking.address()}; kpod runs lists what is there")
    return (matching or named)[0]


def result_of(run: str, stage: str) -> ArtifactRef:
    """The result of `stage` in a run; a pipeline run without a method means the last method it made.

    Raises ConfigError if there is no such run or stage, or if its bytes are gone.
    """
    name, _, method = run.partition("/")
    entity: tracking.Run | None = find(name)
    run_id = entity.info.run_id
    links = {tag: value for tag, value in entity.data.tags.items() if tag.startswith(f"{REF}.")}
    if links:
        methods = [tag.split(".")[-2] for tag in links if tag.endswith(f".{stage}")]
        made = [name for name in entity.data.tags.get("kpod.methods", "").split(",") if name in methods] or methods
        method = method or (made[-1] if made else "")
        if method not in methods:
            raise ConfigError(f"run {run_id} has no {stage} of {method or 'any method'}; it has {', '.join(made)}")
        entity = tracking.get_run(links[f"{REF}.{method}.{stage}"])
    if entity is None or entity.data.tags.get("kpod.stage") != stage:
        raise ConfigError(f"run {run_id} is not a pipeline and not a run of the stage {stage}")
    ref = stages.ref_of(entity)
    if ref is None or tracking.fetch(ref) is None:
        raise ConfigError(f"the {stage} of run {run_id} is gone from {tracking.address()}")
    return ref


def predictions_of(run: str) -> pa.Table:
    """Predictions (schemas.PREDICTIONS) of a run, or of a Parquet file."""
    return schemas.read(_predictions(run), schemas.PREDICTIONS)


def steps_of(run: str) -> dict[str, dict[str, Any]]:
    """Accuracy by number of steps from the metrics.json beside the predictions; empty if there is none."""
    path = _predictions(run).with_name("metrics.json")
    return dict(json.loads(path.read_text(encoding="utf-8"))["steps"]) if path.is_file() else {}


def predictions_in(ref: ArtifactRef) -> pa.Table:
    """Predictions (schemas.PREDICTIONS) of a result of the stage `evaluate` that is on this machine."""
    return schemas.read(_in(ref), schemas.PREDICTIONS)


def _predictions(run: str) -> Path:
    if Path(run).suffix == ".parquet":
        return Path(run)
    return _in(result_of(run, "evaluate"))


def _in(ref: ArtifactRef) -> Path:
    return artifacts.folder_of(ref.stage, ref.key) / "predictions.parquet"


def took(ref: ArtifactRef) -> dict[str, float]:
    """What computing a result took, as its MLflow run says: seconds, and the stage's target tokens, epochs and cost."""
    figures = tracking.final_metrics(ref.run_id)
    return {name: figures[f"{ref.stage}.{name}"] for name in TOOK if f"{ref.stage}.{name}" in figures}


def export_task(run: str, folder: Path) -> None:
    """Write a task of lm-evaluation-harness that asks what the evaluation of a run asked. Raises ConfigError."""
    from kpod.evaluate.lm_eval import write_task

    found, asked = result_of(run, "questions"), result_of(run, "evaluate")
    questions = schemas.read(artifacts.folder_of(found.stage, found.key) / "questions.parquet", schemas.QUESTIONS)
    ids = predictions_of(run)["question_id"].to_pylist()
    evaluated = tracking.get_run(asked.run_id)
    tokens = evaluated.data.params.get("evaluate.max_new_tokens") if evaluated else None
    if tokens is None:
        raise ConfigError(f"run {run}: its evaluation does not say evaluate.max_new_tokens, evaluate it again")
    settings = (tracking.read_document(asked.run_id, stages.SETTINGS) or {}).get("form")
    if not settings:
        return write_task(folder, questions, ids, int(tokens))
    if settings["answer"]["kind"] in ("json", "template"):
        raise ConfigError(f"run {run}: the harness cannot read answers of answer.kind {settings['answer']['kind']}")
    from transformers import AutoTokenizer

    from kpod.text.formats import resolve

    student = _student(run)
    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    form = resolve(tokenizer, Form.model_validate(settings))
    stops = STOPS if form.asks_on else []
    write_task(folder, questions, ids, int(tokens), partial(form.prompt_text, tokenizer), stops)


def _student(run: str) -> Path:
    """The folder of the student of a run, or of the one before distillation if it has no other."""
    try:
        ref = result_of(run, "distill")
    except ConfigError:
        ref = result_of(run, "base")
    return artifacts.folder_of(ref.stage, ref.key) / "student"
