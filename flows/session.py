"""One pipeline run: pulls the stages that a result needs, each once, and links them all in MLflow."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from flows.cache import run_cached
from flows.secrets import read_secrets
from kpod import __version__, observe, tracking
from kpod.config import Pipeline
from kpod.config.flat import flatten
from kpod.config.settings import check_files
from kpod.curriculum.embed import check as check_embedder
from kpod.report.settings import Lineage, ReportSettings
from kpod.run import stages
from kpod.run.results import CONFIG, REF, took
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.home import prepare
from kpod.student.check import check as check_student


def check(config: Pipeline) -> None:
    """Whatever would stop a run later stops it now; a base student that exists already needs no source."""
    check_files(config)
    check_embedder(config.curriculum.embedder)
    read_secrets(config)
    base = stages.STAGES["base"]
    if not artifacts.folder_of("base", stages.key_of(base, config, {})).is_dir():
        check_student(config.student)


class Session:
    """The parent MLflow run of a pipeline and the results that it has so far.

    As an arm of a sweep it has a `name` and `tags` of its own, a `parent` run, and shares what is `known` with the
    other arms (by stage key).
    """

    def __init__(
        self,
        config: Pipeline,
        refresh: tuple[str, ...] = (),
        name: str | None = None,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        known: dict[str, ArtifactRef] | None = None,
    ) -> None:
        self.config = config
        self.computed: list[str] = []
        self._refresh = set(refresh)
        self._name, self._parent = name or config.name, parent
        self._tags = {
            "kpod.dataset": config.dataset,
            "kpod.student": config.student_name,
            "kpod.seed": str(config.distill.seed),
            **(tags or {}),
        }
        self._results: dict[str, ArtifactRef] = {} if known is None else known
        self._by_method: dict[str, ArtifactRef] = {}  # by `<method>.<stage>`
        self._stack = ExitStack()

    def __enter__(self) -> "Session":
        prepare()
        if self._parent is None:  # a sweep has checked all its arms before the first of them
            check(self.config)
        tags = {
            "kpod.stage": "pipeline",
            "kpod.methods": ",".join(self.config.methods),
            "kpod.version": __version__,
            **self._tags,
        }
        tree = self.config.model_dump(mode="json")
        self.run = self._stack.enter_context(tracking.run(self._name, dict(flatten(tree)), tags, self._parent))
        self.run.document(CONFIG, tree)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def result(self, name: str, config: Pipeline, method: str, **given: ArtifactRef) -> ArtifactRef:
        """The result of a stage under `config`, with everything it needs; `given` inputs are taken as they are."""
        stage = stages.STAGES[name]
        inputs = {need: given.get(need) or self.result(need, config, method) for need in stage.needs(config)}
        return self.obtain(stage, config, method, inputs)

    def evaluate(self, config: Pipeline, method: str, student: ArtifactRef, **given: ArtifactRef) -> ArtifactRef:
        """Evaluate a student and put its figures on the parent run."""
        ref = self.result("evaluate", config, method, student=student, **given)
        figures = tracking.final_metrics(ref.run_id)
        shown = {name.removeprefix("evaluate."): value for name, value in figures.items() if "accuracy" in name}
        self.run.metrics({f"{name}.{method}": value for name, value in shown.items()})
        return ref

    def register(self, method: str, student: ArtifactRef) -> str:
        """Register a distilled student and return its version; the last method's is the challenger."""
        tags = {"kpod.method": method, "kpod.pipeline": self.config.name, "kpod.sha256": student.sha256}
        source = tracking.log_student(
            student.run_id, artifacts.folder_of(student.stage, student.key) / "student", self.config.distill.form
        )
        challenger = method == self.config.methods[-1]
        version = tracking.register_student(self.config.dataset, student.run_id, source, tags, challenger)
        self.run.tag(f"kpod.model_version.{method}", version)
        return version

    def report(self) -> ArtifactRef:
        """The report over everything that this session has."""
        lineage = tuple(
            Lineage(name=name, stage=ref.stage, key=ref.key, run_id=ref.run_id, figures=took(ref))
            for name, ref in self._by_method.items()
        )
        settings = ReportSettings(pipeline=self.config, lineage=lineage)
        stage = stages.Stage("report", "kpod.report.stage", lambda config: settings, lambda config: ())
        return self.obtain(stage, self.config, "all", dict(self._by_method))

    def took(self, method: str) -> dict[str, dict[str, float]]:
        """What the stages behind a method's student took: stage -> figure -> value."""
        mine = {name.rpartition(".")[2]: ref for name, ref in self._by_method.items() if name.startswith(f"{method}.")}
        return {stage: took(ref) for stage, ref in mine.items() if stage != "evaluate"}

    def summary(self, report: ArtifactRef | None) -> dict[str, Any]:
        """What the caller of the flow gets to see."""
        folder = artifacts.folder_of(report.stage, report.key) if report else None
        return {
            "run_id": self.run.run_id,
            "computed": self.computed,
            "summary": str(folder / "summary.json") if folder else None,
            "table": (folder / "summary.md").read_text(encoding="utf-8") if folder else None,
            "report": str(folder / "report.html") if folder else None,
        }

    def obtain(self, stage: stages.Stage, config: Pipeline, method: str, inputs: dict[str, ArtifactRef]) -> ArtifactRef:
        """The result of a stage for these inputs, from the cache or computed now."""
        key = stages.key_of(stage, config, inputs)
        ref = self._results.get(key)
        if ref is None:
            started = time.monotonic()
            observe.stage_started(stage.name, method)
            tags = {**self._tags, "kpod.method": method, "kpod.pipeline": self.config.name}
            again = stage.name in self._refresh
            ref, computed = run_cached(stage, key, config, inputs, self.run.run_id, tags, again)
            if computed:
                self.computed.append(f"{stage.name} ({method})")
            observe.stage_finished(stage.name, method, time.monotonic() - started, computed)
            self._results[key] = ref
        name = f"{method}.{stage.name}"
        if self._by_method.get(name) != ref:  # every call is a trip to MLflow
            self._by_method[name] = ref
            self.run.tag(f"{REF}.{name}", ref.run_id)
        return ref
