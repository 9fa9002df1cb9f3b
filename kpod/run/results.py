"""Results of earlier runs: `RUN`, `RUN/METHOD` of a pipeline, or `RUN/LABEL` of a sweep's arm.

RUN is an MLflow run id, the beginning of one, or the name of a run, which means the newest of that name.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod import schemas, tracking
from kpod.config import Evaluate
from kpod.errors import ConfigError
from kpod.evaluate.accuracy import accuracies, accuracy
from kpod.report.costs import cost
from kpod.run import stages
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.text.stops import STOPS

REFERENCES = "references.json"  # runs above stages hold the results they use: `<method>.<stage>` -> ArtifactRef
ABOVE = ("pipeline", "method", "sweep", "arm")  # their tag kpod.stage
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
    entity = find(name)
    run_id = entity.info.run_id
    above = entity.data.tags.get("kpod.stage") in ABOVE
    ref = _by_method(entity, stage, method) if above else stages.ref_of(entity)
    if ref is None or ref.stage != stage:
        raise ConfigError(f"run {run_id} is not a pipeline and not a run of the stage {stage}")
    if tracking.fetch(ref) is None:
        raise ConfigError(f"the {stage} of run {run_id} is gone from {tracking.address()}")
    return ref


def _by_method(entity: tracking.Run, stage: str, method: str) -> ArtifactRef:
    run_id = entity.info.run_id
    found = references(run_id)
    methods = [name.rpartition(".")[0] for name in found if name.endswith(f".{stage}")]
    made = [name for name in entity.data.tags.get("kpod.methods", "").split(",") if name in methods] or methods
    method = method or (made[-1] if made else "")
    if method not in methods:
        raise ConfigError(f"run {run_id} has no {stage} of {method or 'any method'}; it has {', '.join(made)}")
    return found[f"{method}.{stage}"]


def references(run_id: str) -> dict[str, ArtifactRef]:
    """The results that a pipeline, method, sweep or arm used, by `<method>.<stage>`; empty for other runs."""
    found = tracking.read_document(run_id, REFERENCES) or {}
    return {name: ArtifactRef.model_validate(ref) for name, ref in found.items()}


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


def figures_of(refs: Mapping[str, ArtifactRef]) -> dict[str, float]:
    """What runs of methods are compared by, from the results of one method (stage -> result, all on this machine).

    Accuracy with the ends of its 95% interval, overall and by set; target tokens, seconds of CPU and wall of the
    training, CPU seconds of what prepares it, and what its rationales cost (US dollars). Rounded to four decimals,
    which MLflow's tables show whole.
    """
    figures: dict[str, float] = {}
    if evaluated := refs.get("evaluate"):
        predictions = predictions_in(evaluated)
        overall = accuracy("", "", "", predictions.to_pylist())
        for row in [overall, *accuracies("", predictions)]:
            of = f".{row.dataset}.{row.split}" if row.dataset else ""
            figures |= {f"accuracy{of}": row.accuracy, f"accuracy_low{of}": row.low, f"accuracy_high{of}": row.high}
        figures |= {"truncated": overall.truncated, "answerless": overall.answerless}
    taken = {stage: took(ref) for stage, ref in refs.items()}
    if spent := cost(taken):
        figures |= {name: value for name, value in vars(spent).items() if value is not None}
    if "cost_usd" in taken.get("rationales", {}):
        figures["rationales_cost_usd"] = taken["rationales"]["cost_usd"]
    return {name: round(value, 4) for name, value in figures.items()}


def took(ref: ArtifactRef) -> dict[str, float]:
    """What computing a result took, as its MLflow run says: seconds, and the stage's target tokens, epochs and cost."""
    figures = tracking.final_metrics(ref.run_id)
    return {name: figures[f"{ref.stage}.{name}"] for name in TOOK if f"{ref.stage}.{name}" in figures}


def export_task(run: str, folder: Path) -> None:
    """Write a task of lm-evaluation-harness that asks what the evaluation of a run asked. Raises ConfigError."""
    from kpod.evaluate.lm_eval import write_task

    found, evaluation = result_of(run, "questions"), result_of(run, "evaluate")
    questions = schemas.read(artifacts.folder_of(found.stage, found.key) / "questions.parquet", schemas.QUESTIONS)
    ids = predictions_of(run)["question_id"].to_pylist()
    evaluated = tracking.get_run(evaluation.run_id)
    tokens = evaluated.data.params.get("evaluate.max_new_tokens") if evaluated else None
    if tokens is None:
        raise ConfigError(f"run {run}: its evaluation does not say evaluate.max_new_tokens, evaluate it again")
    stored = tracking.read_document(evaluation.run_id, stages.SETTINGS) or {}
    known = {key: stored[key] for key in ("form", "verifier") if stored.get(key)}
    settings = Evaluate.model_validate({**known, "max_new_tokens": int(tokens)})
    if "form" not in known:
        return write_task(folder, questions, ids, settings)
    from transformers import AutoTokenizer

    from kpod.text.formats import resolve

    tokenizer = AutoTokenizer.from_pretrained(_student(run), local_files_only=True)
    form = resolve(tokenizer, settings.form)
    stops = STOPS if form.asks_on else []
    return write_task(folder, questions, ids, settings, partial(form.prompt_text, tokenizer), stops)


def _student(run: str) -> Path:
    """The folder of the student of a run, or of the one before distillation if it has no other."""
    try:
        ref = result_of(run, "distill")
    except ConfigError:
        ref = result_of(run, "base")
    return artifacts.folder_of(ref.stage, ref.key) / "student"
