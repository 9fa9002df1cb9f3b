"""Configuration of one round of retraining, and the datasets of earlier rounds."""

import hashlib
import json
from pathlib import Path

from kpod import tracking
from kpod.config import Pipeline, QuestionFile, Questions
from kpod.errors import DataError
from kpod.retrain.grow import Growth
from kpod.run import stages
from kpod.store.artifacts import ArtifactRef
from kpod.store.keys import identity

DATASET = "dataset"  # name of the stage that grows the training questions


def stage(growth: Growth, previous: bool) -> stages.Stage:
    """The stage that makes the next version of the dataset, as a row of the table of stages."""
    needs = ("questions", "previous") if previous else ("questions",)
    return stages.Stage(DATASET, "kpod.retrain.grow", lambda config: growth, lambda config: needs)


def newest_dataset(dataset: str) -> ArtifactRef | None:
    """The newest version of the grown dataset. Raises DataError if MLflow lists one whose files are missing."""
    run = tracking.newest_run({"kpod.stage": DATASET, "kpod.dataset": dataset})
    ref = stages.ref_of(run) if run else None
    if ref is not None and tracking.fetch(ref) is None:
        raise DataError(f"the newest version of the dataset ({ref.uri}) is gone: restore it in {tracking.address()}")
    return ref


def with_dataset(config: Pipeline, folder: Path) -> Pipeline:
    """`config` with the grown dataset in `folder` as a further source of training questions."""
    file = QuestionFile(dataset="incoming", files={"train": folder / "questions.parquet"})
    return config.model_copy(update={"questions": Questions(sources=[*config.questions.sources, file])})


def config_digest(config: Pipeline) -> str:
    """Hex sha256 of all settings that decide the result, with input files by content; identifies a round."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()


def with_champion_weighter(config: Pipeline, champion: ArtifactRef, base: ArtifactRef) -> Pipeline:
    """`config` with the champion's token weighter, if there is one and the base students are the same."""
    inputs = tracking.inputs_of(champion.run_id)
    if not config.distill.token_weights or config.weights.source == "rule" or "weights" not in inputs:
        return config
    if inputs["base"][0] != base.sha256:
        return config  # the weighter belongs to the embedding of its base student
    run = tracking.get_run(tracking.run_of(inputs["weights"][1]))
    ref = stages.ref_of(run) if run else None
    folder = tracking.fetch(ref) if ref else None
    if folder is None or not (folder / "weighter").is_dir():
        return config
    return config.model_copy(update={"weights": config.weights.model_copy(update={"weighter": folder / "weighter"})})
