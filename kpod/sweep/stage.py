"""Stage `sweep`: the table of all arms as HTML, Markdown and Parquet, and its picture."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from kpod import schemas
from kpod.distill import points
from kpod.report.costs import cost
from kpod.report.data import Cost
from kpod.report.style import write_png
from kpod.store.files import write_text
from kpod.sweep import leaderboard
from kpod.sweep.figure import accuracy_by_variant
from kpod.sweep.plan import arms
from kpod.sweep.settings import SweepSettings, Took
from kpod.sweep.table import SCHEMA, Result, markdown, rows


def run(inputs: Mapping[str, Path], config: SweepSettings, out_dir: Path) -> dict[str, float]:
    """Compare the results of all arms (`inputs`: `<label>.evaluate` and `<label>.distill` -> folder).

    Writes leaderboard.html, leaderboard.json (its columns), table.md, table.parquet (kpod.sweep.table.SCHEMA) and
    accuracy.png. Raises DataError if arms that are compared did not answer the same questions. Returns accuracies.
    """
    results = []
    for arm in arms(config.sweep):
        predictions = schemas.read(inputs[f"{arm.label}.evaluate"] / "predictions.parquet", schemas.PREDICTIONS)
        distilled = inputs.get(f"{arm.label}.distill")
        spent, kept = _cost(distilled, config.took.get(arm.label, {}))
        results.append(Result(arm.train, arm.student, arm.variant, predictions, spent, kept))
    table = rows(results, config.sweep.reference)
    schemas.write(out_dir / "table.parquet", pa.Table.from_pylist([asdict(row) for row in table], schema=SCHEMA))
    write_text(out_dir / "table.md", markdown(table))
    write_text(out_dir / "leaderboard.html", leaderboard.page(config.sweep.name, table))
    write_text(out_dir / "leaderboard.json", json.dumps(leaderboard.columns(table), indent=1))
    write_png(accuracy_by_variant(table), out_dir / "accuracy.png")
    several = len({(row.train, row.student) for row in table}) > 1
    return {
        ".".join(["accuracy", *([row.train, row.student] if several else []), row.dataset, row.split, row.variant]):
        row.accuracy
        for row in table
    }  # fmt: skip


def _cost(distilled: Path | None, took: Took) -> tuple[Cost | None, int]:
    """The cost of a student's training, and its target tokens up to the epoch that was kept."""
    if distilled is None:
        return None, 0
    spent = int(schemas.read(distilled / "history.parquet", schemas.HISTORY)["tokens"][-1].as_py())
    validated = points.read(distilled / points.FILE)
    return cost(took) or Cost(spent), points.best(validated).tokens if validated else spent
