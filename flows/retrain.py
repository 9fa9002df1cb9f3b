"""Flow `kpod-retrain`: train a challenger on new questions, and let the gate compare it with the champion."""

from typing import Any

from prefect import flow

from flows.events import decided
from flows.orphans import end_with_worker
from flows.pages import show_outcome
from flows.session import Session
from kpod import tracking
from kpod.config import Pipeline
from kpod.config.retrain import Retrain
from kpod.config.settings import load
from kpod.config.variants import apply
from kpod.evaluate.compare import compare
from kpod.models import registry
from kpod.observe import observing, warning
from kpod.retrain import gate, grow, incoming, rounds
from kpod.run import results
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.files import file_lock, sha256_file
from kpod.store.home import home

NOTHING = "nothing new"


@flow(name="kpod-retrain", flow_run_name="{config.name}")
def kpod_retrain(
    config: Pipeline = load("demo"),  # noqa: B008  # immutable
    retrain: Retrain = Retrain(),  # noqa: B008
    address: str = "data/incoming",
) -> dict[str, Any]:
    """Train the last of `config.methods` on all questions that have arrived at `address`, and let the gate decide.

    Champion and challenger are evaluated on the questions of `config.questions`, which new files never change. Returns
    the decision, its reason and figures; if there are no new questions, the run ends before a model is loaded.

    Args:
        config: The settings of all stages, as in a recipe's file.
        retrain: The contract of new questions, and the gate in front of the champion.
        address: The place of new questions: a folder, a bucket (s3://...) or hub:SET@REVISION.
    """
    end_with_worker()
    with file_lock(home() / "locks" / f"retrain-{config.dataset}.lock"), Session(config) as session:
        return _Round(session, config, retrain).run(address)


class _Round:
    """One round of retraining inside a session."""

    def __init__(self, session: Session, config: Pipeline, retrain: Retrain) -> None:
        self.session, self.config, self.retrain = session, config, retrain
        self.method = config.methods[-1]

    def run(self, address: str) -> dict[str, Any]:
        """Extend the dataset, train, evaluate and decide; returns the summary of the flow."""
        heldout = self.session.result("questions", self.config, self.method)
        dataset = self._grown(address, heldout)
        questions = tracking.final_metrics(dataset.run_id)["dataset.questions"] if dataset else 0
        if dataset is None or not questions:
            return self._end(gate.Decision("keep", f"{NOTHING}: no usable question at {address}", {}))
        larger = rounds.with_dataset(self.config, artifacts.folder_of(dataset.stage, dataset.key))
        mark = rounds.config_digest(larger)
        if tracking.newest_run({"kpod.retrained": mark}):
            return self._end(gate.Decision("keep", f"{NOTHING} at {address}", {}))
        champion = tracking.version_of(registry.model_name(self.config.dataset), registry.CHAMPION)
        chain = apply(larger, self.method)
        if champion and self.retrain.reuse_weights:
            base = self.session.result("base", chain, self.method)
            chain = rounds.with_champion_weighter(chain, registry.student_of(champion), base)
        student = self.session.result("distill", chain, self.method)
        number = self.session.register(self.method, student)
        version = registry.find(f"{registry.model_name(self.config.dataset)}/{number}")
        tracking.tag_version(
            version, {"kpod.dataset_version": dataset.sha256, "kpod.retrain_run": self.session.run.run_id}
        )
        decision = self._decide(version, champion, student, heldout)
        registry.record(version, decision, str(champion.version) if champion else None)
        if decision.action == "promote":
            registry.promote(version)
        self.session.run.tag("kpod.retrained", mark)
        decided(self.config.dataset, decision.action, {"version": number, "reason": decision.reason})
        return self._end(decision, number)

    def _grown(self, address: str, heldout: ArtifactRef) -> ArtifactRef | None:
        """The dataset with the questions that have arrived, or None if there have never been any."""
        arrived = incoming.collect(address, self.retrain.contract.max_mb)
        with observing(self.session.run):
            for refused in arrived.refused:
                warning(f"refused at {address}: {refused}")
        previous = rounds.newest_dataset(self.config.dataset)
        known = grow.file_digests(artifacts.folder_of(previous.stage, previous.key) if previous else None)
        fresh = [file for file in arrived.files if sha256_file(file) not in known]
        if not fresh:
            return previous
        growth = grow.Growth(
            files=fresh,
            protected=self.retrain.protected,
            contract=self.retrain.contract,
            near=self.retrain.near,
        )
        inputs = {"questions": heldout, **({"previous": previous} if previous else {})}
        return self.session.obtain(rounds.stage(growth, previous is not None), self.config, self.method, inputs)

    def _decide(
        self,
        version: tracking.ModelVersion,
        champion: tracking.ModelVersion | None,
        student: ArtifactRef,
        heldout: ArtifactRef,
    ) -> gate.Decision:
        """The gate's decision on the same questions, or a decision that needs no comparison."""
        chain = apply(self.config, self.method)
        new = self.session.evaluate(chain, self.method, student, questions=heldout)
        if champion is None:
            return gate.Decision("promote", "there was no champion", {})
        if champion.version == version.version:
            return gate.Decision("keep", "the challenger is the champion", {})
        if registry.ROLLED_BACK in version.tags:
            return gate.Decision("keep", "this version was champion and was rolled back", {})
        old = self.session.evaluate(chain, "champion", registry.student_of(champion), questions=heldout)
        return gate.decide(compare(results.predictions_in(old), results.predictions_in(new)), self.retrain.gate)

    def _end(self, decision: gate.Decision, version: str | None = None) -> dict[str, Any]:
        for key, value in (("kpod.decision", decision.action), ("kpod.decision.reason", decision.reason)):
            self.session.run.tag(key, value)
        self.session.run.metrics({f"gate.{name}": value for name, value in decision.figures.items()})
        show_outcome(f"{decision.action}: {decision.reason}", [decision.figures], self.session.run)
        return {
            "run_id": self.session.run.run_id,
            "computed": self.session.computed,
            "decision": decision.action,
            "reason": decision.reason,
            "figures": decision.figures,
            "version": version,
        }
