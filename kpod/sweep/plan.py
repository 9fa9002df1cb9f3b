"""The arms of a sweep: one checked pipeline configuration for each dataset, student, variant and seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from kpod.config import Pipeline
from kpod.config.settings import overlay, put, validate
from kpod.config.sweep import Sweep, Variant
from kpod.config.variants import apply
from kpod.errors import ConfigError


@dataclass(frozen=True)
class Arm:
    """One student to make and evaluate."""

    train: str  # name of the dataset
    student: str
    variant: str
    method: str
    seed: int | None  # None: nothing is trained, so no seed can matter
    label: str  # `[<dataset>/][<student>/]<variant>[/s<seed>]`, unique in the sweep
    config: Pipeline

    @property
    def group(self) -> tuple[str, str]:
        """(dataset, student): arms of one group are compared with each other."""
        return self.train, self.student

    @property
    def tags(self) -> dict[str, str]:
        """Tags by which the arm's run is filtered and grouped in MLflow."""
        return {
            "kpod.method": self.method,
            "kpod.variant": self.variant,
            "kpod.dataset": self.train,
            "kpod.student": self.student,
            **({} if self.seed is None else {"kpod.seed": str(self.seed)}),
        }


def arms(sweep: Sweep) -> list[Arm]:
    """All arms in the order of the table, the first seed of every variant before the second.

    So a sweep that is stopped early has results of every variant. Raises ConfigError that names the invalid arm.
    """
    result = [arm for seed in sweep.seeds for arm in _with_seed(sweep, seed)]
    if len(result) > 1 and any(arm.config.evaluate.server for arm in result):
        raise ConfigError(f"evaluate.server answers for one student, the sweep has {len(result)}: leave it out")
    return result


def _with_seed(sweep: Sweep, seed: int) -> Iterator[Arm]:
    datasets = list(sweep.datasets)[: None if "datasets" in sweep.across else 1]
    students = list(sweep.students)[: None if "students" in sweep.across else 1]
    for train, student, (name, variant) in product(datasets, students, sweep.compared.items()):
        untrained = variant.method == "base"
        if untrained and seed != sweep.seeds[0]:
            continue
        parts = [*([train] if len(datasets) > 1 else []), *([student] if len(students) > 1 else []), name]
        label = "/".join([*parts, *([] if untrained else [f"s{seed}"])])
        try:
            config = _config(sweep, train, student, variant, seed)
        except ConfigError as error:
            raise ConfigError(f"{label}: {error}") from error
        yield Arm(train, student, name, variant.method, None if untrained else seed, label, config)


def _config(sweep: Sweep, train: str, student: str, variant: Variant, seed: int) -> Pipeline:
    settings = dict(sweep.students[student])
    own = settings.pop("by_dataset", {}).get(train, {})
    tree: dict[str, Any] = overlay(overlay(sweep.pipeline, settings), own)
    tree["name"] = sweep.name
    tree["questions"] = {"sources": [source.model_dump(mode="json") for source in sweep.datasets[train]]}
    tree["methods"] = [variant.method]
    for seed_of in sweep.vary:
        put(tree, seed_of, seed)
    for key, value in variant.set.items():
        put(tree, key, value)
    return apply(validate(tree), variant.method)
