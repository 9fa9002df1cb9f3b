"""Yield and cost of the teacher."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Yield:
    """Counts over `rationales.parquet`; `cost_usd` is None if no request had a price."""

    models: tuple[str, ...]
    total: int
    kept: int
    correct: int
    dropped: tuple[tuple[str, int], ...]  # by reason, most frequent first
    finished: tuple[tuple[str, int], ...]  # by finish reason
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def teacher_yield(rationales: pa.Table) -> Yield:
    """Counts over a table of schemas.RATIONALES."""
    dropped = rationales.filter(pc.invert(rationales["kept"]))
    return Yield(
        models=tuple(sorted(rationales["model"].unique().to_pylist())),
        total=len(rationales),
        kept=_sum(rationales["kept"]),
        correct=_sum(rationales["correct"]),
        dropped=_counts(pc.fill_null(dropped["drop_reason"], "no reason given")),
        finished=_counts(rationales["finish_reason"]),
        prompt_tokens=_sum(rationales["prompt_tokens"]),
        completion_tokens=_sum(rationales["completion_tokens"]),
        cost_usd=pc.sum(rationales["cost_usd"]).as_py(),
    )


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _counts(column: pa.ChunkedArray) -> tuple[tuple[str, int], ...]:
    pairs = [(row["values"], row["counts"]) for row in column.value_counts().to_pylist()]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
