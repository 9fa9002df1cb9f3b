"""Stage `curriculum`: difficulties of steps -> number of input steps of each rationale at each stage."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod import observe, schemas
from kpod.config import Curriculum, PlannedCurriculum
from kpod.curriculum import Schedule
from kpod.curriculum.clusters import assign
from kpod.curriculum.embed import embed
from kpod.curriculum.items import Items, read_items
from kpod.curriculum.schedule import in_caller_order, plan_flat
from kpod.curriculum.spend import answer_tokens, fewest_stages, lengths
from kpod.text.table import Tokens
from kpod.training.turns import allowed


def run(inputs: Mapping[str, Path], config: PlannedCurriculum, out_dir: Path) -> dict[str, float]:
    """Plan the whole curriculum (Eq. 9-13): writes `curriculum.parquet` and `clusters.parquet`.

    Every rationale is an item of its own; the samples of a question share its cluster. Without `epochs` there are as
    many stages as `budget` pays for, if each is one epoch of the distillation. `curriculum.parquet` carries
    the key `stages` in its metadata: a JSON list of {stage, target, reached, certificate}. Raises DataError if no
    rationale is usable.
    """
    ids = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS, ("id",))["id"].combine_chunks()
    items, quarantined = read_items(inputs["difficulty"] / "difficulty.parquet", ids)
    if len(quarantined):
        schemas.write(out_dir / "quarantine.parquet", quarantined)
    epochs = config.epochs or (None if config.budget.of else config.budget.epochs)
    tokens = None if epochs else Tokens.read(inputs["tokens"])
    limit = allowed(config.budget, *lengths(items, answer_tokens(items, tokens))) if tokens else 0
    if config.samples:
        items = items.first(config.samples)
    clusters = _clusters(items, inputs["questions"], config, inputs["base"] / "student")

    def schedule_of(stages: int) -> Schedule:
        return _plan(items, clusters, config.model_copy(update={"epochs": stages}))

    schedule = (
        fewest_stages(schedule_of, limit, items, answer_tokens(items, tokens)) if tokens else schedule_of(epochs or 0)
    )
    _report(items, schedule, config)

    n, stages = len(items), len(schedule.target)
    facts = [
        {"stage": t, "target": float(target), "reached": float(reached), "certificate": float(gap)}
        for t, (target, reached, gap) in enumerate(
            zip(schedule.target, schedule.reached, schedule.certificate, strict=True)
        )
    ]
    metadata = {"stages": json.dumps(facts)}
    with schemas.writing(out_dir / "curriculum.parquet", schemas.CURRICULUM, metadata) as write:
        for stage in range(stages):
            write(
                {
                    "stage": np.full(n, stage, dtype=np.int32),
                    "question_id": items.question_id,
                    "sample": items.keys.sample,
                    "input_steps": schedule.input_steps[stage],
                    "selected": schedule.selected[stage],
                }
            )
    labels = {"question_id": items.question_id, "sample": items.keys.sample, "cluster": clusters}
    schemas.write(out_dir / "clusters.parquet", schemas.table(labels, schemas.CLUSTERS))
    return {
        "rationales": n,
        "stages": stages,
        "difficulty_total": float(items.difficulty.sum()),
        "reached_least": float(np.min(schedule.reached / np.maximum(schedule.target, 1e-300), initial=1.0)),
        "certificate_worst": float(schedule.certificate.max()),
        "clusters": len(np.unique(clusters)),
        "largest_cluster_share": float(np.bincount(clusters).max() / n),
        "quarantined": len(quarantined),
    }


def _clusters(items: Items, questions: Path, config: Curriculum, student: Path) -> np.ndarray:
    """The cluster (int32 [n]) of each item's question."""
    table = schemas.read(questions / "questions.parquet", schemas.QUESTIONS, ("id", "question"))
    names = items.keys.names
    texts = table["question"].take(pc.index_in(names, value_set=table["id"].combine_chunks()))

    def embedded(places: np.ndarray) -> np.ndarray:
        return embed(texts.take(pa.array(places)).to_pylist(), config.embedder, student)

    return assign(names.to_pylist(), embedded, config.clusters, config.seed)[items.keys.code]


def _plan(items: Items, clusters: np.ndarray, config: Curriculum) -> Schedule:
    """The schedule in the order of the items; planned in the order of their keys, so that ties do not depend on it."""
    order = np.argsort(items.keys.rank, kind="stable")
    sorted_items = items.take(order)
    return in_caller_order(plan_flat(sorted_items.difficulty, sorted_items.steps, clusters[order], config), order)


def _report(items: Items, schedule: Schedule, config: Curriculum) -> None:
    for t, input_steps in enumerate(schedule.input_steps):
        figures = {
            "target": float(schedule.target[t]),
            "reached": float(schedule.reached[t]),
            "certificate": float(schedule.certificate[t]),
            "whole_share": float((input_steps == 0).mean()),
            "generated_share": float(1 - input_steps.sum() / items.steps.sum()),
            "selected_share": float(schedule.selected[t].mean()),
        }
        observe.metrics({f"curriculum.{name}": value for name, value in figures.items()}, t)
    short = np.flatnonzero(schedule.reached < 0.99 * schedule.target)
    if config.passes == "repeat" and len(short):
        stages = ", ".join(map(str, short))
        observe.warning(
            f"curriculum: at stages {stages} the plan reaches less than 99% of the difficulty: steps are large"
        )
