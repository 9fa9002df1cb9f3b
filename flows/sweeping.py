"""One sweep: a parent MLflow run, below it one run for each arm, below that the stages that this arm executed."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from flows.cache import run_cached
from flows.pages import show_outcome
from flows.session import Session, check
from kpod import observe, tracking
from kpod.config.flat import flatten
from kpod.config.sweep import Sweep
from kpod.run import stages
from kpod.run.chain import Chain, Plan, Task
from kpod.run.results import REFERENCES, figures_of
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.home import prepare
from kpod.sweep.curve import curve
from kpod.sweep.leaderboard import outcome
from kpod.sweep.plan import Arm
from kpod.sweep.settings import SweepSettings, Took


class SweepSession:
    """The MLflow runs of a sweep and its results so far."""

    def __init__(self, sweep: Sweep, arms: Sequence[Arm], refresh: tuple[str, ...] = ()) -> None:
        self.sweep, self.arms = sweep, arms
        self.computed: list[str] = []
        self._refresh = refresh
        self._known: dict[str, ArtifactRef] = {}  # by stage key, over all arms
        self._plan = Plan()
        self._results: dict[str, ArtifactRef] = {}  # by `<label>.<stage>`
        self._costs: dict[str, Took] = {}  # by label
        self._stack = ExitStack()

    def __enter__(self) -> "SweepSession":
        prepare()
        for config in {arm.group: arm.config for arm in self.arms}.values():
            check(config)
        tags = {"kpod.stage": "sweep", "kpod.dataset": ",".join(dict.fromkeys(arm.train for arm in self.arms))}
        params = dict(flatten(self.sweep.model_dump(mode="json")))
        self.run = self._stack.enter_context(tracking.run(self.sweep.name, params, tags))
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def run_arm(self, arm: Arm) -> None:
        """Distil and evaluate the arm's student, in an MLflow run of its own."""
        observe.heading(arm.label)
        self._plan.pending.clear()
        _pull(self._plan, arm)
        observe.stages_planned(self._plan.pending)
        tags = {"kpod.stage": "arm", **arm.tags}
        with Session(arm.config, self._refresh, arm.label, self.run.run_id, tags, self._known) as session:
            student, evaluated = _pull(session, arm)
            session.run.metrics(figures_of(session.refs(arm.method)))
            if arm.method != "base":
                for values, tokens in curve(artifacts.folder_of(student.stage, student.key)):
                    session.run.metrics(values, tokens)
                self._record(arm, student)
                self._costs[arm.label] = session.took(arm.method)
            self._record(arm, evaluated)
            if self.sweep.reports:
                session.report()
        self.computed += session.computed

    def table(self) -> ArtifactRef:
        """The comparison of all arms."""
        settings = SweepSettings(sweep=self.sweep, took=self._costs)
        stage = stages.Stage("sweep", "kpod.sweep.stage", lambda _: settings, lambda _: ())
        config = self.arms[0].config
        key = stages.key_of(stage, config, self._results)
        tags = {"kpod.method": "all", "kpod.pipeline": self.sweep.name}
        ref, computed = run_cached(Task(stage, key, config, self._results, tags), self.run.run_id)
        if computed:
            self.computed.append("sweep (all)")
        figures = tracking.final_metrics(ref.run_id)
        self.run.metrics({name.removeprefix("sweep."): value for name, value in figures.items() if "accuracy" in name})
        folder = artifacts.folder_of(ref.stage, ref.key)
        self.run.describe((folder / "table.md").read_text(encoding="utf-8"))
        for name in ("leaderboard.html", "accuracy.png"):
            self.run.file(folder / name)
        columns = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
        self.run.table("leaderboard.json", columns)
        show_outcome(*outcome(folder), self.run)
        return ref

    def summary(self, table: ArtifactRef) -> dict[str, Any]:
        """The return value of the flow."""
        folder = artifacts.folder_of(table.stage, table.key)
        return {
            "run_id": self.run.run_id,
            "computed": self.computed,
            "table": (folder / "table.md").read_text(encoding="utf-8"),
            "folder": str(folder),
        }

    def _record(self, arm: Arm, ref: ArtifactRef) -> None:
        self._results[f"{arm.label}.{ref.stage}"] = ref
        self.run.document(REFERENCES, {name: ref.model_dump() for name, ref in self._results.items()})


def _pull(chain: Chain, arm: Arm) -> tuple[ArtifactRef, ArtifactRef]:
    """The student of an arm and its evaluation."""
    student = chain.result("base" if arm.method == "base" else "distill", arm.config, arm.method)
    return student, chain.result("evaluate", arm.config, arm.method, student=student)
