"""The table of stages, and their execution: inputs are fetched, the run is tracked, the result published and stored.

A stage's module has a function `run(inputs, config, out_dir) -> figures` that reads folders and writes one.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

from kpod import tracking
from kpod.config import Pipeline
from kpod.config.flat import flatten
from kpod.config.settings import named_files
from kpod.errors import ConfigError, DataError
from kpod.observe import Observer, observing
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.code_version import code_version
from kpod.store.files import sha256_tree
from kpod.store.keys import stage_key

SETTINGS = "settings.json"  # the settings of a stage, an artifact of its run


@dataclass(frozen=True)
class Stage:
    """One stage: its module, its part of the settings, and the stages whose results it reads."""

    name: str
    module: str
    config: Callable[[Pipeline], BaseModel]
    needs: Callable[[Pipeline], tuple[str, ...]]


# The stages that give a rationale with its question and steps, and those that give a student and its tokens.
_TEXTS = ("questions", "rationales", "steps")
_STUDENT = ("base", "tokens")

STAGES = {
    stage.name: stage
    for stage in (
        Stage("questions", "kpod.questions.stage", lambda c: c.questions, lambda c: ()),
        Stage("rationales", "kpod.teacher.stage", lambda c: c.teaching, lambda c: ("questions",)),
        Stage("steps", "kpod.steps.stage", lambda c: c.steps, lambda c: ("rationales",)),
        Stage("base", "kpod.student.stage", lambda c: c.student, lambda c: ()),
        Stage("tokens", "kpod.tokens.stage", lambda c: c.distill.form, lambda c: (*_TEXTS, "base")),
        Stage("weights", "kpod.weighting.stage", lambda c: c.weights, lambda c: ("questions", "rationales", *_STUDENT)),
        Stage(
            "difficulty",
            "kpod.difficulty.stage",
            lambda c: c.difficulty,
            lambda c: (*_STUDENT, *(("weights",) if c.difficulty.weighting != "uniform" else ())),
        ),
        Stage(
            "curriculum", "kpod.curriculum.stage", lambda c: c.planned, lambda c: ("questions", *_STUDENT, "difficulty")
        ),
        Stage(
            "distill",
            "kpod.distill.stage",
            lambda c: c.distill,
            lambda c: (
                *_TEXTS,
                *_STUDENT,
                *(("weights",) if c.distill.token_weights else ()),
                *(("curriculum",) if c.distill.progressive and c.curriculum.T else ()),
            ),
        ),
        Stage("evaluate", "kpod.evaluate.stage", lambda c: c.evaluate, lambda c: ("questions", "student")),
    )
}


def check_names(names: Iterable[str]) -> None:
    """Raise ConfigError if one of `names` is no stage."""
    for name in names:
        if name not in STAGES:
            raise ConfigError(f"no stage {name}; the stages are {', '.join(STAGES)}")


def key_of(stage: Stage, config: Pipeline, inputs: Mapping[str, ArtifactRef]) -> str:
    """Cache key of a stage for a config and the results that it reads."""
    digests = {name: ref.sha256 for name, ref in inputs.items()}
    return stage_key(stage.name, stage.config(config), digests, code_version(stage.module))


def execute(
    stage: Stage,
    config: Pipeline,
    inputs: Mapping[str, ArtifactRef],
    parent: str | None,
    tags: Mapping[str, str],
    watchers: tuple[Observer, ...] = (),
    refresh: bool = False,
) -> ArtifactRef:
    """Run a stage, publish its folder under its key, and store it in MLflow as a nested run of `parent`.

    A folder that a killed attempt has published but not stored is stored as it is, except with `refresh`. `watchers`
    observe the stage beside its MLflow run. The caller must hold the lock of the stage's key. Raises DataError if the
    bytes of an input are missing, and whatever the stage raises.
    """
    key = key_of(stage, config, inputs)
    folders = {name: _fetched(ref) for name, ref in inputs.items()}
    settings = stage.config(config)
    tree = settings.model_dump(mode="json")
    params = dict(flatten(tree, f"{stage.name}."))
    known = {"kpod.stage": stage.name, "kpod.cache_key": key, "kpod.code": code_version(stage.module)}
    with tracking.run(stage.name, params, {**tags, **known}, parent) as run:
        files = {name: (sha256_tree(path), str(path)) for name, path in named_files(settings, stage.name)}
        run.inputs({name: (ref.sha256, ref.uri) for name, ref in inputs.items()} | files)
        run.document(SETTINGS, tree)
        finished = None if refresh else artifacts.sealed(stage.name, key)
        if finished is None:
            out = artifacts.workspace(stage.name, key)
            started = time.monotonic(), _cpu_seconds()
            with observing(run, *watchers):
                figures = import_module(stage.module).run(folders, settings, out)
            # Stages that resume after a kill return the seconds of all attempts themselves.
            took = {"wall_seconds": time.monotonic() - started[0], "cpu_seconds": _cpu_seconds() - started[1]}
            figures = {**took, **figures}
            shutil.rmtree(out / "work", ignore_errors=True)
            finished = artifacts.seal(stage.name, key, out, figures)
        run.metrics({f"{stage.name}.{name}": value for name, value in finished.figures.items()})
        uri = run.upload(artifacts.folder_of(stage.name, key))
        run.tag("kpod.sha256", finished.sha256)
        return ArtifactRef(stage=stage.name, key=key, run_id=run.run_id, uri=uri, sha256=finished.sha256)


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def recorded(key: str) -> ArtifactRef | None:
    """The result with this key in MLflow, fetched and its digest verified; None if there is none."""
    run = tracking.newest_run({"kpod.cache_key": key})
    ref = ref_of(run) if run else None
    return ref if ref and tracking.fetch(ref) else None


def ref_of(run: tracking.Run) -> ArtifactRef | None:
    """The result of a stage's finished MLflow run; None for other runs."""
    tags = run.data.tags
    if not {"kpod.stage", "kpod.cache_key", "kpod.sha256"} <= tags.keys():
        return None
    return ArtifactRef(
        stage=tags["kpod.stage"],
        key=tags["kpod.cache_key"],
        run_id=run.info.run_id,
        uri=tracking.artifact_uri(run.info.run_id),
        sha256=tags["kpod.sha256"],
    )


def _fetched(ref: ArtifactRef) -> Path:
    folder = tracking.fetch(ref)
    if folder is None:
        raise DataError(f"the result of stage {ref.stage} ({ref.uri}) is gone: rerun with --refresh {ref.stage}")
    return folder
