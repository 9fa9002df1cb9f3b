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

REFERENCES = "references.json"  # the results that a run above stages uses: `<method>.<stage>` -> ArtifactRef
ABOVE = ("pipeline", "method", "sweep", "arm")  # tag kpod.stage of runs above stages
TOOK = ("wall_seconds", "cpu_seconds", "target_tokens", "epochs", "rationales_a_question", "left_out", "cost_usd")
PARENTS = ("pipeline", "sweep")  # tag kpod.stage of runs that users name
CONFIG = "config.json"  # the whole configuration, an artifact of parent runs


def find(name: str) -> tracking.Run:
    """The run with this id; else the pipeline or sweep with this prefix of an id, or the newest one with this name.

    Raises ConfigError if there is none, or if the prefix is not unique.
    """
    if (run := tracking.get_run(name)) is not None:
        return run
    runs = tracking.runs_of(PARENTS) if name else []
    matching = [run for run in runs if run.info.run_id.startswith(name)]
    if len(matching) > 1:
        raise ConfigError(f"{len(matching)} runs begin with {name}: {', '.join(run.info.run_id for run in matching)}")
    named = [run for run in runs if run.info.run_name == name]
    if not matching and not named:
        raise ConfigError(f"no MLflow run {name} at {tracking.address()}; kpod runs lists what is there")
    return (matching or named)[0]


def result_of(run: str, stage: str) -> ArtifactRef:
    """The result of `stage` in a run; for a pipeline without a method, that of its last method.

    Raises ConfigError if there is no such run or stage, or if the bytes are missing.
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
    refs = references(run_id)
    methods = [name.rpartition(".")[0] for name in refs if name.endswith(f".{stage}")]
    ordered = [name for name in entity.data.tags.get("kpod.methods", "").split(",") if name in methods] or methods
    method = method or (ordered[-1] if ordered else "")
    if method not in methods:
        raise ConfigError(f"run {run_id} has no {stage} of {method or 'any method'}; it has {', '.join(ordered)}")
    return refs[f"{method}.{stage}"]


def references(run_id: str) -> dict[str, ArtifactRef]:
    """The results that a pipeline, method, sweep or arm used, by `<method>.<stage>`; empty for other runs."""
    document = tracking.read_document(run_id, REFERENCES) or {}
    return {name: ArtifactRef.model_validate(ref) for name, ref in document.items()}


def predictions_of(run: str) -> pa.Table:
    """Predictions (schemas.PREDICTIONS) of a run, or in a Parquet file. Raises ConfigError or DataError."""
    return schemas.read(_predictions(run), schemas.PREDICTIONS)


def steps_of(run: str) -> dict[str, dict[str, Any]]:
    """Accuracy by number of steps, from the metrics.json beside the predictions; empty if there is none."""
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
    """The figures of a method's MLflow run, from its results (stage -> result, all on this machine).

    Accuracy with the ends of its 95% interval, overall and by set; target tokens, rationales a question, the share
    that is left out, CPU and wall seconds of the training, CPU seconds of its preparation, and the cost of its
    rationales (US dollars). Rounded to four decimals.
    """
    figures: dict[str, float] = {}
    if evaluated := refs.get("evaluate"):
        predictions = predictions_in(evaluated)
        overall = accuracy("", "", "", predictions.to_pylist())
        for row in [overall, *accuracies("", predictions)]:
            name = f".{row.dataset}.{row.split}" if row.dataset else ""
            figures |= {
                f"accuracy{name}": row.accuracy,
                f"accuracy_low{name}": row.low,
                f"accuracy_high{name}": row.high,
            }
        figures |= {"truncated": overall.truncated, "answerless": overall.answerless}
    costs = {stage: took(ref) for stage, ref in refs.items()}
    if spent := cost(costs):
        figures |= {name: value for name, value in vars(spent).items() if value is not None}
    if "cost_usd" in costs.get("rationales", {}):
        figures["rationales_cost_usd"] = costs["rationales"]["cost_usd"]
    return {name: round(value, 4) for name, value in figures.items()}


def took(ref: ArtifactRef) -> dict[str, float]:
    """The cost of computing a result, from its MLflow run: the figures of TOOK that it has."""
    figures = tracking.final_metrics(ref.run_id)
    return {name: figures[f"{ref.stage}.{name}"] for name in TOOK if f"{ref.stage}.{name}" in figures}


def export_task(run: str, folder: Path) -> None:
    """Write a task of lm-evaluation-harness with the questions of a run's evaluation. Raises ConfigError."""
    from kpod.evaluate.lm_eval import write_task

    source, evaluation = result_of(run, "questions"), result_of(run, "evaluate")
    questions = schemas.read(artifacts.folder_of(source.stage, source.key) / "questions.parquet", schemas.QUESTIONS)
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

    from kpod.text.chat import resolve

    tokenizer = AutoTokenizer.from_pretrained(_student(run), local_files_only=True)
    form = resolve(tokenizer, settings.form)
    stops = STOPS if form.asks_on else []
    return write_task(folder, questions, ids, settings, partial(form.prompt_text, tokenizer), stops)


def _student(run: str) -> Path:
    """The folder of a run's distilled student, else of its student before distillation."""
    try:
        ref = result_of(run, "distill")
    except ConfigError:
        ref = result_of(run, "base")
    return artifacts.folder_of(ref.stage, ref.key) / "student"
