"""Stage `curriculum`: difficulties of steps -> which steps are given at each stage of the distillation."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod import observe, schemas
from kpod.config import Curriculum, PlannedCurriculum
from kpod.curriculum import Schedule, plan
from kpod.curriculum.clusters import assign
from kpod.curriculum.embed import embed
from kpod.curriculum.items import Items, read_items
from kpod.curriculum.spend import answer_tokens, fewest_stages, lengths
from kpod.training.turns import allowed


def run(inputs: Mapping[str, Path], config: PlannedCurriculum, out_dir: Path) -> dict[str, float]:
    """Plan the whole curriculum (Eq. 9-13): writes `curriculum.parquet` and `clusters.parquet`.

    Every rationale is an item of its own; the samples of a question share its cluster. Without `epochs` there are as
    many stages as `budget` pays for, if each is one epoch of the distillation. `curriculum.parquet` carries
    the key `stages` in its metadata: a JSON list of {stage, target, reached, certificate}. Raises DataError if no
    rationale is usable.
    """
    questions = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
    items, quarantined = read_items(inputs["difficulty"] / "difficulty.parquet", questions)
    if len(quarantined):
        schemas.write(out_dir / "quarantine.parquet", quarantined)
    student = inputs["base"] / "student"
    epochs = config.epochs or (None if config.budget.of else config.budget.epochs)

    def answers(items: Items) -> np.ndarray:
        return answer_tokens(items, questions, student, config.form)

    limit = 0 if epochs else allowed(config.budget, *lengths(items, answers(items)))
    if config.samples:
        items = items.first(config.samples)
    keys = np.asarray(items.question_id.to_pylist(), dtype=object)
    clusters = _clusters(keys, questions, config, student)

    def make(stages: int) -> Schedule:
        return _plan(keys, items, clusters, config.model_copy(update={"epochs": stages}))

    schedule = make(epochs) if epochs else fewest_stages(make, limit, items, answers(items))
    _report(items, schedule, config)

    n, stages = len(items.sample), len(schedule.target)
    facts = [
        {"stage": t, "target": float(target), "reached": float(reached), "certificate": float(gap)}
        for t, (target, reached, gap) in enumerate(
            zip(schedule.target, schedule.reached, schedule.certificate, strict=True)
        )
    ]
    columns = {
        "stage": np.repeat(np.arange(stages, dtype=np.int32), n),
        "question_id": pa.chunked_array([items.question_id] * stages),
        "sample": np.tile(items.sample, stages),
        "input_steps": schedule.input_steps.reshape(-1),
        "selected": schedule.selected.reshape(-1),
    }
    table = schemas.table(columns, schemas.CURRICULUM, {"stages": json.dumps(facts)})
    schemas.write(out_dir / "curriculum.parquet", table)
    labels = {"question_id": items.question_id, "sample": items.sample, "cluster": clusters}
    schemas.write(out_dir / "clusters.parquet", schemas.table(labels, schemas.CLUSTERS))
    return {
        "rationales": n,
        "stages": stages,
        "difficulty_total": float(sum(float(values.sum()) for values in items.difficulties)),
        "reached_least": float(np.min(schedule.reached / np.maximum(schedule.target, 1e-300), initial=1.0)),
        "certificate_worst": float(schedule.certificate.max()),
        "clusters": len(np.unique(clusters)),
        "largest_cluster_share": float(np.bincount(clusters).max() / n),
        "quarantined": len(quarantined),
    }


def _clusters(keys: np.ndarray, questions: pa.Table, config: Curriculum, student: Path) -> np.ndarray:
    """The cluster (int32 [n]) of each item's question."""
    unique, inverse = np.unique(keys, return_inverse=True)
    rows = pc.index_in(pa.array(unique, pa.string()), value_set=questions["id"].combine_chunks())
    texts = questions["question"].take(rows).to_pylist()
    return assign(unique.tolist(), embed(texts, config.embedder, student), config.clusters, config.seed)[inverse]


def _plan(keys: np.ndarray, items: Items, clusters: np.ndarray, config: Curriculum) -> Schedule:
    """The schedule in the order of the items; planned in the order of the keys, which decides between equal items."""
    order = np.lexsort((items.sample, keys))
    schedule = plan([items.difficulties[i] for i in order], clusters[order], config)
    back = np.argsort(order)
    return replace(schedule, input_steps=schedule.input_steps[:, back], selected=schedule.selected[:, back])


def _report(items: Items, schedule: Schedule, config: Curriculum) -> None:
    steps = np.fromiter(map(len, items.difficulties), np.int64, len(items.difficulties))
    for t, given in enumerate(schedule.input_steps):
        figures = {
            "target": float(schedule.target[t]),
            "reached": float(schedule.reached[t]),
            "certificate": float(schedule.certificate[t]),
            "whole_share": float((given == 0).mean()),
            "generated_share": float(1 - given.sum() / steps.sum()),
            "selected_share": float(schedule.selected[t].mean()),
        }
        observe.metrics({f"curriculum.{name}": value for name, value in figures.items()}, t)
    short = np.flatnonzero(schedule.reached < 0.99 * schedule.target)
    if config.passes == "repeat" and len(short):
        stages = ", ".join(map(str, short))
        observe.warning(f"stages {stages} reach less than 99% of the difficulty allowed: the steps left are too large")
