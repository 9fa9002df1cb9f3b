"""Pipelines in Python, without Prefect; results are shared with the cache of the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod import observe, tracking
from kpod.config import Pipeline
from kpod.config.flat import flatten
from kpod.config.settings import put, read, recipes, validate
from kpod.display import displayed
from kpod.errors import ConfigError
from kpod.run import stages
from kpod.run.chain import Results, Task, planned, students
from kpod.run.results import CONFIG, REFERENCES
from kpod.run.single import table_in
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.files import file_lock
from kpod.store.home import home, prepare, quiet_libraries

ELSEWHERE = {"clusters": "curriculum", "predictions": "evaluate", "history": "distill"}  # table -> stage


class Run(Results):
    """The results of one pipeline run.

    `run_id` is the id of its MLflow run, `computed` lists the stages that were computed and not read from the cache.
    """

    run_id = ""

    def folder(self, stage: str, method: str | None = None) -> Path:
        """The folder of a stage's result for a method, by default the last method that has one.

        Raises ConfigError if the run has no such result.
        """
        by_method = [(*name.rpartition(".")[::2], ref) for name, ref in self.by_method.items()]
        refs = [ref for owner, name, ref in by_method if name == stage and method in (None, owner)]
        if not refs:
            known = ", ".join(f"{name} of {owner}" for owner, name, _ in by_method)
            raise ConfigError(f"this run has no {stage} of {method or 'any method'}; it has {known}")
        return artifacts.folder_of(refs[-1].stage, refs[-1].key)

    def table(self, name: str, method: str | None = None) -> pa.Table:
        """A stage's file as an Arrow table (`kpod.schemas`): questions, rationales, steps, tokens, weights, difficulty,
        curriculum, clusters, history (of `distill`) or predictions (of `evaluate`).

        Raises ConfigError if the run has no such result.
        """
        return table_in(self.folder(ELSEWHERE.get(name, name), method), name)

    def compute(self, task: Task) -> tuple[ArtifactRef, bool]:
        """The result, from the cache or computed in this process."""
        with file_lock(home() / "locks" / f"{task.key}.lock"):  # the lock that a flow takes for this key
            ref = None if task.refresh else stages.recorded(task.key)
            if ref is not None:
                return ref, False
            ref = stages.execute(task.stage, task.config, task.inputs, self.run_id, task.tags, refresh=task.refresh)
            return ref, True

    def _go(self, until: str | None) -> None:
        tree = self.config.model_dump(mode="json")
        tags = {"kpod.stage": "pipeline", "kpod.methods": ",".join(self.config.methods), **self.tags}
        with tracking.run(self.config.name, dict(flatten(tree)), tags) as parent:
            self.run_id = parent.run_id
            parent.document(CONFIG, tree)
            observe.stages_planned(planned(self.config, until))
            for chain, method, student in students(self, self.config, until):
                if until != "distill":
                    self.result("evaluate", chain, method, student=student)
            parent.document(REFERENCES, {name: ref.model_dump() for name, ref in self.by_method.items()})


def load(source: str | Path, **settings: Any) -> Pipeline:
    """The checked settings of a recipe (by name) or a YAML file, with dotted keys on top: `**{"distill.lr": 1e-4}`.

    Raises ConfigError in one line if the file is missing, or a key or value does not fit.
    """
    tree = read(str(source), recipes())
    for key, value in settings.items():
        put(tree, key, value)
    return validate(tree)


def run(config: Pipeline, until: str | None = None, refresh: Sequence[str] = (), quiet: bool = False) -> Run:
    """Run a pipeline in this process, up to the stage `until` if given; cached results are not computed again.

    `refresh` names stages to compute again; `quiet` shows only warnings. Unlike `kpod run`, students are not registered
    and there is no report. Raises KpodError as the stages do, ConfigError for an unknown stage.
    """
    quiet_libraries()
    prepare()
    stages.check_names([*refresh, *([until] if until else [])])
    results = Run(config, refresh=refresh)
    with displayed(quiet):
        results._go(until)
    return results
