"""Results of earlier runs by their MLflow run id: `ID`, or `ID/METHOD` for a method of a pipeline run."""

import shutil
from pathlib import Path

import pyarrow as pa

from kpod import artifacts, schemas, stages, tracking
from kpod.artifacts import ArtifactRef
from kpod.errors import ConfigError

REF = "kpod.ref"  # parent runs link their stages by tags `kpod.ref.<method>.<stage>` -> run id
CONFIG = "config.json"  # parent runs hold the whole configuration under this name


def result_of(run: str, stage: str) -> ArtifactRef:
    """The result of `stage` in a run; a pipeline run without a method means the last method it made.

    Raises ConfigError if there is no such run or stage, or if its bytes are gone.
    """
    run_id, _, method = run.partition("/")
    entity = tracking.get_run(run_id)
    if entity is None:
        raise ConfigError(f"no MLflow run {run_id} at {tracking.uri()}")
    links = {tag: value for tag, value in entity.data.tags.items() if tag.startswith(f"{REF}.")}
    if links:
        methods = [tag.split(".")[-2] for tag in links if tag.endswith(f".{stage}")]
        made = [name for name in entity.data.tags.get("kpod.methods", "").split(",") if name in methods]
        method = method or (made[-1] if made else "")
        if method not in methods:
            raise ConfigError(f"run {run_id} has no {stage} of {method or 'any method'}; it has {', '.join(made)}")
        entity = tracking.get_run(links[f"{REF}.{method}.{stage}"])
    if entity is None or entity.data.tags.get("kpod.stage") != stage:
        raise ConfigError(f"run {run_id} is not a pipeline and not a run of the stage {stage}")
    ref = stages.ref_of(entity)
    if ref is None or artifacts.fetch(ref) is None:
        raise ConfigError(f"the {stage} of run {run_id} is gone from {tracking.uri()}")
    return ref


def predictions_of(run: str) -> pa.Table:
    """Predictions (schemas.PREDICTIONS) of a run, or of a Parquet file."""
    path = Path(run)
    if path.suffix != ".parquet":
        return predictions_in(result_of(run, "evaluate"))
    return schemas.read(path, schemas.PREDICTIONS)


def predictions_in(ref: ArtifactRef) -> pa.Table:
    """Predictions (schemas.PREDICTIONS) of a result of the stage `evaluate` that is on this machine."""
    return schemas.read(artifacts.folder_of(ref.stage, ref.key) / "predictions.parquet", schemas.PREDICTIONS)


def export_student(run: str, folder: Path) -> None:
    """Copy the student of a run to `folder`. Raises ConfigError if the folder exists."""
    if folder.exists():
        raise ConfigError(f"{folder} exists already")
    ref = result_of(run, "distill")
    shutil.copytree(artifacts.folder_of(ref.stage, ref.key) / "student", folder)
