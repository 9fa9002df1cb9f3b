"""The table of a sweep: each variant on each set of questions, over its seeds, and against the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from kpod.errors import DataError
from kpod.evaluate.statistics import MANY, holm
from kpod.sweep.statistics import difference_interval, interval, paired_p

SCHEMA = pa.schema(
    [
        pa.field("train", pa.string(), False),  # the dataset trained on
        pa.field("student", pa.string(), False),
        pa.field("dataset", pa.string(), False),  # of the questions asked
        pa.field("split", pa.string(), False),
        pa.field("variant", pa.string(), False),
        pa.field("seeds", pa.int32(), False),
        pa.field("questions", pa.int32(), False),
        pa.field("accuracy", pa.float64(), False),  # mean over the seeds
        pa.field("low", pa.float64(), False),  # 95% interval
        pa.field("high", pa.float64(), False),
        pa.field("by_seed", pa.list_(pa.float64()), False),
        pa.field("against", pa.string(), False),
        pa.field("difference", pa.float64()),  # null for the reference itself
        pa.field("difference_low", pa.float64()),
        pa.field("difference_high", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("p_holm", pa.float64()),  # corrected for all comparisons of its group
        pa.field("truncated", pa.float64(), False),
        pa.field("answerless", pa.float64(), False),
        pa.field("target_tokens", pa.int64(), False),  # trained on, mean over the seeds
    ]
)

Key = tuple[str, str, str]  # dataset, split, question


@dataclass(frozen=True)
class Result:
    """What one arm left: its predictions (schemas.PREDICTIONS) and the target tokens that it was trained on."""

    train: str
    student: str
    variant: str
    predictions: pa.Table
    target_tokens: int


@dataclass(frozen=True)
class Row:
    """One row of SCHEMA."""

    train: str
    student: str
    dataset: str
    split: str
    variant: str
    seeds: int
    questions: int
    accuracy: float
    low: float
    high: float
    by_seed: list[float]
    against: str
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    p_holm: float | None
    truncated: float
    answerless: float
    target_tokens: int


def rows(results: Sequence[Result], reference: str) -> list[Row]:
    """The rows of all groups (dataset trained on, student), sets and variants, in the order of `results`.

    Raises DataError if two arms of a group did not answer the same questions with the same gold answers.
    """
    groups: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for one in results:
        groups.setdefault((one.train, one.student), {}).setdefault(one.variant, []).append(one)
    return [row for variants in groups.values() for row in _group(variants, reference)]


def _group(variants: Mapping[str, Sequence[Result]], reference: str) -> list[Row]:
    asked = _answers(next(iter(variants.values()))[0].predictions)
    sets: dict[tuple[str, str], list[Key]] = {}
    for key in asked:
        sets.setdefault(key[:2], []).append(key)
    gold = {key: row["answer"] for key, row in asked.items()}
    told = {name: [_same(_answers(one.predictions), gold, name) for one in arms] for name, arms in variants.items()}
    found = []
    for (dataset, split), keys in sets.items():
        right = {n: np.array([[arm[key]["correct"] for key in keys] for arm in arms]) for n, arms in told.items()}
        for name, arms in variants.items():
            mine, theirs = right[name], right[reference]
            other = None if name == reference else difference_interval(theirs, mine)
            low, high = interval(mine)
            answers = [arm[key] for arm in told[name] for key in keys]
            found.append(
                Row(
                    train=arms[0].train,
                    student=arms[0].student,
                    dataset=dataset,
                    split=split,
                    variant=name,
                    seeds=len(arms),
                    questions=len(keys),
                    accuracy=float(mine.mean()),
                    low=low,
                    high=high,
                    by_seed=mine.mean(1).tolist(),
                    against=reference,
                    difference=float(mine.mean() - theirs.mean()) if other else None,
                    difference_low=other[0] if other else None,
                    difference_high=other[1] if other else None,
                    p_value=paired_p(theirs, mine) if other else None,
                    p_holm=None,
                    truncated=sum(row["truncated"] for row in answers) / len(answers),
                    answerless=sum(row["predicted"] is None for row in answers) / len(answers),
                    target_tokens=round(sum(one.target_tokens for one in arms) / len(arms)),
                )
            )
    return _corrected(found)


def _corrected(found: Sequence[Row]) -> list[Row]:
    """The rows with Holm's correction of their p-values."""
    raw = [row.p_value for row in found if row.p_value is not None]
    corrected = iter(holm(raw))
    return [row if row.p_value is None else replace(row, p_holm=next(corrected)) for row in found]


def _answers(predictions: pa.Table) -> dict[Key, dict[str, Any]]:
    return {(row["dataset"], row["split"], row["question_id"]): row for row in predictions.to_pylist()}


def _same(answers: dict[Key, dict[str, Any]], gold: Mapping[Key, str], name: str) -> dict[Key, dict[str, Any]]:
    if {key: row["answer"] for key, row in answers.items()} != gold:
        raise DataError(f"{name} did not answer the same questions as the others: evaluate all on one set")
    return answers


def markdown(found: Sequence[Row]) -> str:
    """One table for each dataset trained on and student; p is corrected where it compares more than three times."""
    lines: list[str] = []
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row.train, row.student), []).append(row)
    for (train, student), group in groups.items():
        reference = group[0].against
        many = sum(row.p_value is not None for row in group) > MANY
        lines += [
            f"Trained on {train}, student {student}; differences in points against {reference}:",
            "",
            f"| variant | asked | n | seeds | accuracy | 95% | - {reference} | 95% | p |{' p (Holm) |' if many else ''}"
            " cut off | target tokens |",
            "|---|---|---|---|---|---|---|---|---|---|---|" + ("---|" if many else ""),
            *(_line(row, many) for row in group),
            "",
        ]
    return "\n".join(lines)


def _line(row: Row, many: bool) -> str:
    """`many`: Holm's p beside the raw one."""
    against = " | | " + ("| " if many else "")
    if row.difference is not None and row.difference_low is not None and row.difference_high is not None:
        span = f"{100 * row.difference_low:+.1f} to {100 * row.difference_high:+.1f}"
        against = f"{100 * row.difference:+.1f} | {span} | {row.p_value:.3g}{f' | {row.p_holm:.3g}' if many else ''}"
    return (
        f"| {row.variant} | {row.dataset} {row.split} | {row.questions} | {row.seeds} | {row.accuracy:.1%} |"
        f" {row.low:.1%} to {row.high:.1%} | {against} | {row.truncated:.1%} | {row.target_tokens:,} |"
    )
