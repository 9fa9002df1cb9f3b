"""The learning curve of an arm for its MLflow run: loss over target tokens, so that students can be compared."""

from pathlib import Path

from kpod import schemas

POINTS = 400


def curve(distilled: Path) -> list[tuple[dict[str, float], int]]:
    """(metrics, target tokens seen) of at most about POINTS optimizer steps, the last one included."""
    history = schemas.read(distilled / "history.parquet", schemas.HISTORY)
    every = -(-len(history) // POINTS)
    chosen = [*range(0, len(history) - 1, every), len(history) - 1]
    return [({"loss": row["loss"], "lr": row["lr"]}, row["tokens"]) for row in history.take(chosen).to_pylist()]
