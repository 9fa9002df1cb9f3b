"""The order in which the results of a pipeline are obtained, whatever computes them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from hashlib import sha256

from kpod import observe
from kpod.config import Pipeline
from kpod.config.variants import apply
from kpod.run import stages
from kpod.store.artifacts import ArtifactRef


class Chain(ABC):
    """Obtains the result of a stage after those of the stages that it needs."""

    def result(self, name: str, config: Pipeline, method: str, **known: ArtifactRef) -> ArtifactRef:
        """The result of the stage `name` under `config`; `known` are results to use as inputs, by stage."""
        stage = stages.STAGES[name]
        inputs = {need: known.get(need) or self.result(need, config, method) for need in stage.needs(config)}
        return self.obtain(stage, config, method, inputs)

    @abstractmethod
    def obtain(
        self, stage: stages.Stage, config: Pipeline, method: str, inputs: Mapping[str, ArtifactRef]
    ) -> ArtifactRef:
        """The result of a stage for these inputs."""


@dataclass(frozen=True)
class Task:
    """One stage to compute."""

    stage: stages.Stage
    key: str
    config: Pipeline
    inputs: Mapping[str, ArtifactRef]
    tags: Mapping[str, str]  # of its MLflow run
    refresh: bool = False  # whether a recorded result is ignored


class Results(Chain):
    """The results of one pipeline run: each is computed, or read from the cache, once, and reported to observers.

    `computed` lists the computed stages as `<stage> (<method>)`; `by_method` has every result as `<method>.<stage>`.
    `tags` are added to those of all its MLflow runs, `refresh` names stages to compute again, and `known` (results by
    stage key) may be shared by several runs.
    """

    def __init__(
        self,
        config: Pipeline,
        tags: Mapping[str, str] | None = None,
        refresh: Collection[str] = (),
        known: MutableMapping[str, ArtifactRef] | None = None,
    ) -> None:
        self.config = config
        self.computed: list[str] = []
        self.by_method: dict[str, ArtifactRef] = {}
        self.tags = {
            "kpod.dataset": config.dataset,
            "kpod.student": config.student_name,
            "kpod.seed": str(config.distill.seed),
            **(tags or {}),
        }
        self._refresh = frozenset(refresh)
        self._known: MutableMapping[str, ArtifactRef] = {} if known is None else known

    @abstractmethod
    def compute(self, task: Task) -> tuple[ArtifactRef, bool]:
        """The result of a task, and whether it was computed now or read from the cache."""

    def obtain(
        self, stage: stages.Stage, config: Pipeline, method: str, inputs: Mapping[str, ArtifactRef]
    ) -> ArtifactRef:
        """The result of a stage for these inputs: of this run, from the cache, or computed now."""
        key = stages.key_of(stage, config, inputs)
        if key not in self._known:
            started = time.monotonic()
            observe.stage_started(stage.name, method)
            tags = {**self.tags, "kpod.method": method, "kpod.pipeline": self.config.name}
            ref, computed = self.compute(Task(stage, key, config, inputs, tags, stage.name in self._refresh))
            observe.stage_finished(stage.name, method, time.monotonic() - started, computed)
            self.computed += [f"{stage.name} ({method})"] if computed else []
            self._known[key] = ref
        self.by_method[f"{method}.{stage.name}"] = self._known[key]
        return self._known[key]


class Plan(Chain):
    """A dry run: `pending` lists the stages that `Results` would obtain, in order, as (stage, method)."""

    def __init__(self) -> None:
        self.pending: list[tuple[str, str]] = []
        self._known: set[str] = set()

    def obtain(
        self, stage: stages.Stage, config: Pipeline, method: str, inputs: Mapping[str, ArtifactRef]
    ) -> ArtifactRef:
        """A reference without a result; equal for equal settings and inputs."""
        parts = [stage.name, stage.config(config).model_dump_json(), *(f"{k} {v.key}" for k, v in inputs.items())]
        key = sha256("\n".join(parts).encode()).hexdigest()
        if key not in self._known:
            self._known.add(key)
            self.pending.append((stage.name, method))
        return ArtifactRef(stage=stage.name, key=key, run_id="", uri="", sha256=key)


def students(chain: Chain, config: Pipeline, until: str | None) -> Iterator[tuple[Pipeline, str, ArtifactRef]]:
    """Config, method and student of each method; nothing if `until` is a stage before `distill`.

    The rationales of all methods come first, so that a teacher that cannot be asked stops the run before training.
    """
    if until not in ("questions", "base"):
        for method in config.methods:
            if method != "base":
                chain.result("rationales", apply(config, method), method)
    for method in config.methods:
        applied = apply(config, method)
        if until in (None, "distill", "evaluate"):
            yield applied, method, chain.result("base" if method == "base" else "distill", applied, method)
        else:
            chain.result(until, applied, method)


def planned(config: Pipeline, until: str | None) -> list[tuple[str, str]]:
    """The stages of a run up to `until` (None: all), in order, as (stage, method)."""
    plan = Plan()
    for applied, method, student in students(plan, config, until):
        if until != "distill":
            plan.result("evaluate", applied, method, student=student)
    return plan.pending
