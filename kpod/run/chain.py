"""The order in which a pipeline pulls its results, whoever computes them."""

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
    """Gives the result of a stage together with everything that it needs."""

    def result(self, name: str, config: Pipeline, method: str, **known: ArtifactRef) -> ArtifactRef:
        """The result of the stage `name` under `config`; the inputs in `given` are taken as they are."""
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
    """One stage to compute: its key, inputs, the tags of its MLflow run, and whether a recorded result is ignored."""

    stage: stages.Stage
    key: str
    config: Pipeline
    inputs: Mapping[str, ArtifactRef]
    tags: Mapping[str, str]
    refresh: bool = False


class Results(Chain):
    """The results of one pipeline run: each is computed, or found in the cache, once, and shown to observers.

    `computed` lists what was not in the cache, as `<stage> (<method>)`; `by_method` has every result under
    `<method>.<stage>`. `tags` are added to those of all its MLflow runs, `refresh` names stages to compute again, and
    `known` (results by stage key) may be shared by several runs.
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
        """The result of a task, and whether it was computed now."""

    def obtain(
        self, stage: stages.Stage, config: Pipeline, method: str, inputs: Mapping[str, ArtifactRef]
    ) -> ArtifactRef:
        """The result of a stage for these inputs, from this run, the cache, or computed now."""
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
    """A dry run: the stages that `Results` would turn to, in order, each as (stage, method)."""

    def __init__(self) -> None:
        self.pending: list[tuple[str, str]] = []
        self._known: set[str] = set()

    def obtain(
        self, stage: stages.Stage, config: Pipeline, method: str, inputs: Mapping[str, ArtifactRef]
    ) -> ArtifactRef:
        """A reference without bytes; the same for the same settings and inputs."""
        parts = [stage.name, stage.config(config).model_dump_json(), *(f"{k} {v.key}" for k, v in inputs.items())]
        key = sha256("\n".join(parts).encode()).hexdigest()
        if key not in self._known:
            self._known.add(key)
            self.pending.append((stage.name, method))
        return ArtifactRef(stage=stage.name, key=key, run_id="", uri="", sha256=key)


def students(chain: Chain, config: Pipeline, until: str | None) -> Iterator[tuple[Pipeline, str, ArtifactRef]]:
    """Config, method and student of each method; nothing if `until` names a stage before `distill`.

    The teacher comes first: if it cannot be asked, nothing is trained before.
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
    """The stages of a run up to `until`, each as (stage, method), in the order in which it turns to them."""
    plan = Plan()
    for applied, method, student in students(plan, config, until):
        if until != "distill":
            plan.result("evaluate", applied, method, student=student)
    return plan.pending
