"""The learning curves of an arm for its MLflow run, over target tokens, so that students can be compared."""

from pathlib import Path

from kpod import schemas
from kpod.distill import points

POINTS = 400


def curve(distilled: Path) -> list[tuple[dict[str, float], int]]:
    """(metrics, target tokens) of at most about POINTS optimizer steps, the last included, and of all validations."""
    history = schemas.read(distilled / "history.parquet", schemas.HISTORY)
    every = -(-len(history) // POINTS)
    chosen = [*range(0, len(history) - 1, every), len(history) - 1]
    steps = [({"loss": row["loss"], "lr": row["lr"]}, row["tokens"]) for row in history.take(chosen).to_pylist()]
    validated = points.read(distilled / points.FILE)
    return [*steps, *(({"validation_accuracy": point.accuracy}, point.tokens) for point in validated)]
