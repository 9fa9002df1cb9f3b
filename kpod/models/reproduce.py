"""Reproduction of a finished run: each stage is computed again from its recorded inputs, and the bytes compared."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from kpod import tracking
from kpod.config import Student
from kpod.config.settings import load
from kpod.errors import ConfigError
from kpod.retrain.grow import Growth
from kpod.retrain.rounds import DATASET
from kpod.run import stages
from kpod.run.results import find, references
from kpod.run.stages import SETTINGS
from kpod.store.code_version import code_version
from kpod.store.files import sha256_tree
from kpod.store.home import home


@dataclass(frozen=True)
class Reproduction:
    """Digests (sha256) of a stage's result as recorded and as computed again; `note` may explain a difference."""

    name: str
    recorded: str
    computed: str
    note: str

    @property
    def identical(self) -> bool:
        """Whether the digests are equal."""
        return self.recorded == self.computed


def reproduce(run_id: str) -> Iterator[Reproduction]:
    """Compute every stage of a pipeline or retrain run, or of one stage's run, again; stored results do not change.

    Each stage reads its recorded inputs, so a difference is shown at the stage where it arises. The teacher is asked
    only what the journal does not answer. The report, which names runs, is left out. Raises ConfigError if the run,
    its settings or an input is missing.
    """
    run = find(run_id)
    links = {name: ref.run_id for name, ref in references(run.info.run_id).items()}
    children = {child: name for name, child in sorted(links.items(), reverse=True)} or {run.info.run_id: "this run"}
    runs = [(name, _finished_run(child)) for child, name in children.items()]
    for name, child in sorted(runs, key=lambda item: (_order(item[1]), item[0])):
        if child.data.tags["kpod.stage"] != "report":
            yield _reproduce(name, child)


def _finished_run(run_id: str) -> tracking.Run:
    run = tracking.get_run(run_id)
    if run is None or stages.ref_of(run) is None:
        raise ConfigError(f"the run {run_id} is gone from {tracking.address()}, or is no finished stage")
    return run


def _order(run: tracking.Run) -> int:
    names = list(stages.STAGES)
    stage = run.data.tags["kpod.stage"]
    return names.index(stage) if stage in names else -1


def _reproduce(name: str, run: tracking.Run) -> Reproduction:
    stage, recorded = run.data.tags["kpod.stage"], tracking.inputs_of(run.info.run_id)
    module = "kpod.retrain.grow" if stage == DATASET else stages.STAGES[stage].module
    settings = _settings(stage, tracking.read_document(run.info.run_id, SETTINGS))
    inputs = {key: _input(key, uri) for key, (_, uri) in recorded.items() if uri.startswith("runs:/")}
    changed = [
        key
        for key, (digest, place) in recorded.items()
        if not place.startswith("runs:/") and not (Path(place).exists() and sha256_tree(Path(place)) == digest)
    ]
    if changed:
        raise ConfigError(f"{name}: the input files {', '.join(changed)} are gone or have changed: restore them")
    out = home() / "work" / f"again-{run.info.run_id}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        import_module(module).run(inputs, settings, out)
        shutil.rmtree(out / "work", ignore_errors=True)
        computed = sha256_tree(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    same = run.data.tags.get("kpod.code") == code_version(module)
    return Reproduction(name, run.data.tags["kpod.sha256"], computed, "" if same else "the code has changed since")


def _settings(stage: str, tree: dict[str, Any] | None) -> BaseModel:
    kinds: dict[str, Any] = {"base": Student, DATASET: Growth}
    if tree is None:
        raise ConfigError(f"the settings of the stage {stage} were not recorded: its run is of an older version")
    try:
        kind = kinds[stage] if stage in kinds else type(stages.STAGES[stage].config(load("demo")))
        return TypeAdapter(kind).validate_python(tree)
    except (KeyError, ValidationError) as error:
        raise ConfigError(f"the recorded settings of the stage {stage} do not fit this version of kpod") from error


def _input(name: str, uri: str) -> Path:
    ref = stages.ref_of(_finished_run(tracking.run_of(uri)))
    folder = tracking.fetch(ref) if ref else None
    if folder is None:
        raise ConfigError(f"the input {name} ({uri}) is gone from {tracking.address()}")
    return folder
