"""One pipeline run: executes the stages that a result needs, each once, and links their MLflow runs."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flows.cache import run_cached
from flows.pages import show_outcome
from flows.secrets import read_secrets
from kpod import __version__, tracking
from kpod.config import Pipeline
from kpod.config.flat import flatten
from kpod.config.settings import check_files
from kpod.config.variants import apply
from kpod.curriculum.embed import check as check_embedder
from kpod.report.settings import Lineage, ReportSettings
from kpod.report.summary import description, outcome, version_text
from kpod.run import stages
from kpod.run.chain import Results, Task
from kpod.run.results import CONFIG, REFERENCES, figures_of, took
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.home import prepare
from kpod.student.check import check as check_student
from kpod.training.extras import check as check_extras

DATASETS = ("questions", "rationales", "dataset")  # stages whose results are a run's datasets


def check(config: Pipeline) -> None:
    """Check files, packages, secrets and the student before a run starts; a base student in the cache needs no source.

    Raises ConfigError or ModelError, which would otherwise stop the run later.
    """
    check_files(config)
    check_embedder(config.curriculum.embedder)
    check_extras(config)
    read_secrets(config)
    base = stages.STAGES["base"]
    if not artifacts.folder_of("base", stages.key_of(base, config, {})).is_dir():
        check_student(config.student)


class Session(Results):
    """The parent MLflow run of a pipeline and its results, computed as Prefect tasks.

    An arm of a sweep has its own `name` and `tags`, a `parent` run, and shares the results in `known` (by stage key)
    with the other arms.
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
        super().__init__(config, tags, refresh, known)
        self._name, self._parent = name or config.name, parent
        self._methods: dict[str, tracking.TrackedRun] = {}
        self._versions: dict[str, tracking.ModelVersion] = {}  # by method
        self._stack = ExitStack()

    def __enter__(self) -> "Session":
        prepare()
        if self._parent is None:  # a sweep has checked all its arms before the first of them
            check(self.config)
        tags = {
            "kpod.stage": "pipeline",
            "kpod.methods": ",".join(self.config.methods),
            "kpod.version": __version__,
            **self.tags,
        }
        tree = self.config.model_dump(mode="json")
        self.run = self._stack.enter_context(tracking.run(self._name, dict(flatten(tree)), tags, self._parent))
        self.run.document(CONFIG, tree)
        self._stack.callback(self._store_references)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def evaluate(self, config: Pipeline, method: str, student: ArtifactRef, **inputs: ArtifactRef) -> ArtifactRef:
        """Evaluate a student and log its figures to the method's run, its accuracies also to the pipeline's.

        `inputs` are results to use instead of those of the pipeline.
        """
        ref = self.result("evaluate", config, method, student=student, **inputs)
        figures = figures_of(self.refs(method))
        run = self.run_of(method)
        if run is not self.run:
            run.metrics(figures)
        accuracy = {name: value for name, value in figures.items() if name.partition(".")[0] == "accuracy"}
        self.run.metrics({f"{name}.{method}": value for name, value in accuracy.items()})
        if version := self._versions.get(method):
            tracking.tag_version(version, {f"kpod.{name}": f"{value:.4f}" for name, value in accuracy.items()})
            tracking.describe_version(version, version_text(method, self.config, figures))
        return ref

    def register(self, method: str, student: ArtifactRef) -> str:
        """Register a distilled student and return its version; that of the last method becomes the challenger."""
        tags = {
            "kpod.method": method,
            "kpod.dataset": self.config.dataset,
            "kpod.pipeline": self.config.name,
        }
        folder = artifacts.folder_of(student.stage, student.key) / "student"
        source = tracking.log_student(student.run_id, folder, self.config.distill.form)
        model = tracking.logged_student(student.run_id, f"{self.config.dataset}-{method}", source, tags)
        for run in {run.run_id: run for run in (self.run, self.run_of(method))}.values():
            run.models([model])
        challenger = method == self.config.methods[-1]
        version = tracking.register_student(self.config.dataset, student.run_id, source, tags, challenger, model)
        self._versions[method] = version
        self.run.tag(f"kpod.model_version.{method}", str(version.version))
        return str(version.version)

    def run_of(self, method: str) -> tracking.TrackedRun:
        """The MLflow run above a method's stages, below the pipeline's; for an arm of a sweep, its own run."""
        if self._parent is not None or method not in self.config.methods:
            return self.run
        if method not in self._methods:
            tags = {**self.tags, "kpod.stage": "method", "kpod.method": method, "kpod.pipeline": self.config.name}
            tree = apply(self.config, method).model_dump(mode="json")
            if method == "base":  # not distilled: no difference from plain distillation is shown
                tree["distill"] |= {"token_weights": False, "progressive": False}
            params = dict(flatten(tree))
            opened = tracking.run(method, params, tags, self.run.run_id)
            self._methods[method] = self._stack.enter_context(opened)
        return self._methods[method]

    def refs(self, method: str) -> dict[str, ArtifactRef]:
        """The results of a method, by stage."""
        named = ((name.rpartition("."), ref) for name, ref in self.by_method.items())
        return {stage: ref for (owner, _, stage), ref in named if owner == method}

    def report(self) -> ArtifactRef:
        """The report over all results of this session."""
        lineage = tuple(
            Lineage(name=name, stage=ref.stage, key=ref.key, run_id=ref.run_id, figures=took(ref))
            for name, ref in self.by_method.items()
        )
        settings = ReportSettings(pipeline=self.config, lineage=lineage)
        stage = stages.Stage("report", "kpod.report.stage", lambda config: settings, lambda config: ())
        ref = self.obtain(stage, self.config, "all", dict(self.by_method))
        self._publish_report(artifacts.folder_of(ref.stage, ref.key))
        return ref

    def _publish_report(self, folder: Path) -> None:
        """The report's outcome as the description of the run, and its page and pictures as artifacts."""
        links = {"The report": self.run.link("report.html")}
        if len(self._methods) > 1:
            first, *others = (self._methods[method] for method in self.config.methods if method in self._methods)
            links["The methods side by side"] = first.beside(others)
        self.run.describe(description(folder, links))
        self.run.file(folder / "report.html")
        for picture in sorted((folder / "figures").iterdir()):
            self.run.file(picture, "figures")
        show_outcome(*outcome(folder), self.run)

    def took(self, method: str) -> dict[str, dict[str, float]]:
        """The costs of the stages of a method's student: stage -> figure -> value."""
        return {stage: took(ref) for stage, ref in self.refs(method).items() if stage != "evaluate"}

    def _store_references(self) -> None:
        """Log the results that each run uses, and its questions and rationales as datasets."""
        runs = {"": self.run, **{f"{method}.": run for method, run in self._methods.items()}}
        for prefix, run in runs.items():
            refs = {name: ref for name, ref in self.by_method.items() if name.startswith(prefix)}
            data = {ref.stage: (ref.sha256, ref.uri) for ref in refs.values() if ref.stage in DATASETS}
            run.inputs(data)
            run.document(REFERENCES, {name: ref.model_dump() for name, ref in refs.items()})

    def summary(self, report: ArtifactRef | None) -> dict[str, Any]:
        """The return value of the flow."""
        folder = artifacts.folder_of(report.stage, report.key) if report else None
        return {
            "run_id": self.run.run_id,
            "computed": self.computed,
            "summary": str(folder / "summary.json") if folder else None,
            "table": (folder / "summary.md").read_text(encoding="utf-8") if folder else None,
            "report": str(folder / "report.html") if folder else None,
        }

    def compute(self, task: Task) -> tuple[ArtifactRef, bool]:
        """The result of a Prefect task, below the MLflow run of its method, whose duration ends with it."""
        run = self.run_of(task.tags["kpod.method"])
        result = run_cached(task, run.run_id)
        if run is not self.run:
            run.end_time = tracking.milliseconds()
        return result
