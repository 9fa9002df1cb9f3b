"""Stage `sweep`: the table of all arms as Markdown and Parquet, and its picture."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from kpod import schemas
from kpod.config.sweep import Sweep
from kpod.distill import points
from kpod.report.style import write_png
from kpod.store.files import write_text
from kpod.sweep.figure import accuracy_by_variant
from kpod.sweep.plan import arms
from kpod.sweep.table import SCHEMA, Result, markdown, rows


def run(inputs: Mapping[str, Path], config: Sweep, out_dir: Path) -> dict[str, float]:
    """Read what the arms left (`<label>.evaluate` and `<label>.distill` -> folder), compare and write it.

    Writes table.md, table.parquet (kpod.sweep.table.SCHEMA) and accuracy.png. Raises DataError if arms that are
    compared did not answer the same questions.
    """
    results = [
        Result(
            train=arm.train,
            student=arm.student,
            variant=arm.variant,
            predictions=schemas.read(inputs[f"{arm.label}.evaluate"] / "predictions.parquet", schemas.PREDICTIONS),
            target_tokens=_tokens(inputs.get(f"{arm.label}.distill")),
        )
        for arm in arms(config)
    ]
    found = rows(results, config.reference)
    schemas.write(out_dir / "table.parquet", pa.Table.from_pylist([asdict(row) for row in found], schema=SCHEMA))
    write_text(out_dir / "table.md", markdown(found))
    write_png(accuracy_by_variant(found), out_dir / "accuracy.png")
    several = len({(row.train, row.student) for row in found}) > 1
    return {
        ".".join(["accuracy", *([row.train, row.student] if several else []), row.dataset, row.split, row.variant]):
        row.accuracy
        for row in found
    }  # fmt: skip


def _tokens(distilled: Path | None) -> int:
    """Target tokens that a student was trained on, until the epoch that was kept."""
    if distilled is None:
        return 0
    if told := points.read(distilled / points.FILE):
        return points.best(told).tokens
    return int(schemas.read(distilled / "history.parquet", schemas.HISTORY)["tokens"][-1].as_py())
