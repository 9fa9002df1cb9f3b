"""The data of the token view: a few rationales of a run, each token shaded by its weight."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod.errors import DataError
from kpod.report.left_out import LeftOut
from kpod.report.pieces import pieces
from kpod.text.prompts import question_text

_LEAST_SPAN = 0.2


@dataclass(frozen=True)
class Shaded:
    """A run of tokens: text, mean weight, shade in [0, 1], whether a step starts here, and whether it is left out."""

    text: str
    weight: float
    shade: float
    starts_step: bool
    left_out: bool = False


@dataclass(frozen=True)
class TokenView:
    """One rationale with its question; `answer` is gold, `taught` the answer of the rationale."""

    question_id: str
    sample: int
    question: str
    answer: str
    taught: str | None
    correct: bool
    tokens: tuple[Shaded, ...]


@dataclass(frozen=True)
class Scale:
    """Weights at or below `low` are blank, at or above `high` fully coloured."""

    low: float
    high: float

    def shade(self, weight: float) -> float:
        """The shade of a weight, in [0, 1]."""
        return min(1.0, max(0.0, (weight - self.low) / (self.high - self.low)))


def weight_scale(weights: pa.Table) -> Scale:
    """The scale from the 1st to the 99th percentile of all weights (schemas.WEIGHTS).

    It spans at least _LEAST_SPAN, so that weights which hardly differ look alike.
    """
    values = pc.list_flatten(weights["weight"]).to_numpy()
    values = values[np.isfinite(values)]
    low, high = (float(v) for v in np.quantile(values, [0.01, 0.99])) if len(values) else (0.0, 1.0)
    if high - low >= _LEAST_SPAN:
        return Scale(low, high)
    # Weights are probabilities: the widened scale stays in [0, 1].
    start = min(max(0.0, (low + high - _LEAST_SPAN) / 2), 1.0 - _LEAST_SPAN)
    return Scale(start, start + _LEAST_SPAN)


def token_views(
    weights: pa.Table,
    questions: pa.Table,
    rationales: pa.Table,
    tokenizer: Any,
    limit: int,
    left_out: LeftOut | None = None,
) -> list[TokenView]:
    """At most `limit` rationales, spread evenly over `weights` (schemas.WEIGHTS), matched by (question_id, sample).

    The tokens of steps in `left_out` are marked; None: no step is. Raises DataError if a weighted rationale or its
    question is not in the tables, or its lists differ in length.
    """
    scale = weight_scale(weights)
    rows = weights.take(pa.array(spread(len(weights), limit), pa.int64())).to_pylist()
    ids = pa.array(sorted({row["question_id"] for row in rows}), pa.string())
    by_id = {q["id"]: q for q in questions.filter(pc.is_in(questions["id"], ids)).to_pylist()}
    known = rationales.filter(pc.is_in(rationales["question_id"], ids)).to_pylist()
    taught = {(r["question_id"], r["sample"]): r for r in known}
    keys = [(row["question_id"], row["sample"]) for row in rows]
    out = left_out.of(keys) if left_out else [()] * len(rows)
    views = []
    for key, row, steps in zip(keys, rows, out, strict=True):
        if key[0] not in by_id or key not in taught:
            raise DataError(f"weights hold the rationale {key}, the tables of the run do not: recompute the weights")
        question, rationale = by_id[key[0]], taught[key]
        views.append(
            TokenView(
                question_id=key[0],
                sample=key[1],
                question=question_text(question["question"], question["choices"]),
                answer=question["answer"],
                taught=rationale["answer"],
                correct=rationale["correct"],
                tokens=_shaded(row, tokenizer, scale, steps),
            )
        )
    return views


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` positions of `count`, evenly spaced and in order."""
    return [i * count // limit for i in range(limit)] if count > limit else list(range(count))


def shaded(
    ids: Sequence[int],
    steps: Sequence[int],
    weights: Sequence[float],
    tokenizer: Any,
    scale: Scale,
    left_out: Collection[int] = (),
) -> tuple[Shaded, ...]:
    """The tokens of one rationale with their shades; `ids`, `steps` and `weights` have one entry a token.

    `left_out`: the numbers of the steps that are marked as left out.
    """
    shown = []
    for piece in pieces(tokenizer, ids):
        weight = float(np.mean(weights[piece.start : piece.stop]))
        first = piece.start > 0 and steps[piece.start] != steps[piece.start - 1]
        out = steps[piece.start] in left_out
        shown.append(Shaded(piece.text, weight, round(scale.shade(weight), 3), first, out))
    return tuple(shown)


def _shaded(row: dict[str, Any], tokenizer: Any, scale: Scale, left_out: Collection[int]) -> tuple[Shaded, ...]:
    ids, steps, values = row["token_ids"], row["step"], row["weight"]
    if not len(ids) == len(steps) == len(values):
        raise DataError(f"weights of {row['question_id']!r}: token_ids, step and weight differ in length")
    return shaded(ids, steps, values, tokenizer, scale, left_out)
