"""The table of a sweep: each variant on each set of questions, over its seeds, compared with the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from kpod.errors import DataError
from kpod.evaluate.accuracy import Question, by_question
from kpod.evaluate.statistics import MANY, holm
from kpod.report.costs import compared_at
from kpod.report.data import Cost, grouped
from kpod.report.render import figure, p_value
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
        pa.field("target_tokens", pa.int64(), False),  # trained on; this and what follows: means over the seeds
        pa.field("kept_tokens", pa.int64(), False),  # until the epoch that validation kept
        pa.field("epochs", pa.float64()),
        pa.field("cpu_seconds", pa.float64()),  # of training; null where it is not known
        pa.field("wall_seconds", pa.float64()),
        pa.field("preparation_seconds", pa.float64()),  # CPU seconds of weights, difficulty and curriculum
    ]
)

GROUP = attrgetter("train", "student")  # rows and results of one group are compared with each other
PLACE = attrgetter("train", "student", "dataset", "split")
COSTS = ("epochs", "cpu_seconds", "wall_seconds", "preparation_seconds")  # of a Cost, beside its target tokens


@dataclass(frozen=True)
class Result:
    """The results of one arm: its predictions (schemas.PREDICTIONS), and its cost if it was trained."""

    train: str
    student: str
    variant: str
    predictions: pa.Table
    cost: Cost | None = None
    kept_tokens: int = 0


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
    kept_tokens: int
    epochs: float | None
    cpu_seconds: float | None
    wall_seconds: float | None
    preparation_seconds: float | None


def rows(results: Sequence[Result], reference: str) -> list[Row]:
    """The rows of all groups (dataset trained on, student), sets and variants, in the order of `results`.

    Raises DataError if two arms of a group did not answer the same questions with the same gold answers.
    """
    return [
        row
        for group in grouped(results, GROUP).values()
        for row in _group(grouped(group, attrgetter("variant")), reference)
    ]


def _group(variants: Mapping[str, Sequence[Result]], reference: str) -> list[Row]:
    reference_rows = by_question(next(iter(variants.values()))[0].predictions)
    gold = {key: row["answer"] for key, row in reference_rows.items()}
    by_variant = {
        name: [_same(by_question(result.predictions), gold, name) for result in arms] for name, arms in variants.items()
    }
    rows = []
    for (dataset, split), keys in grouped(reference_rows, itemgetter(0, 1)).items():
        right = {n: np.array([[arm[key]["correct"] for key in keys] for arm in arms]) for n, arms in by_variant.items()}
        for name, arms in variants.items():
            correct, reference_correct = right[name], right[reference]
            other = None if name == reference else difference_interval(reference_correct, correct)
            low, high = interval(correct)
            answers = [arm[key] for arm in by_variant[name] for key in keys]
            rows.append(
                Row(
                    train=arms[0].train,
                    student=arms[0].student,
                    dataset=dataset,
                    split=split,
                    variant=name,
                    seeds=len(arms),
                    questions=len(keys),
                    accuracy=float(correct.mean()),
                    low=low,
                    high=high,
                    by_seed=correct.mean(1).tolist(),
                    against=reference,
                    difference=float(correct.mean() - reference_correct.mean()) if other else None,
                    difference_low=other[0] if other else None,
                    difference_high=other[1] if other else None,
                    p_value=paired_p(reference_correct, correct) if other else None,
                    p_holm=None,
                    truncated=sum(row["truncated"] for row in answers) / len(answers),
                    answerless=sum(row["predicted"] is None for row in answers) / len(answers),
                    target_tokens=round(
                        _mean([result.cost.target_tokens if result.cost else 0 for result in arms]) or 0
                    ),
                    kept_tokens=round(_mean([result.kept_tokens for result in arms]) or 0),
                    **{name: _mean([getattr(result.cost, name, None) for result in arms]) for name in COSTS},
                )
            )
    return _corrected(rows)


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with Holm's correction of their p-values."""
    raw = [row.p_value for row in rows if row.p_value is not None]
    corrected = iter(holm(raw))
    return [row if row.p_value is None else replace(row, p_holm=next(corrected)) for row in rows]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _same(
    answers: dict[Question, dict[str, Any]], gold: Mapping[Question, str], name: str
) -> dict[Question, dict[str, Any]]:
    if {key: row["answer"] for key, row in answers.items()} != gold:
        raise DataError(f"{name} did not answer the same questions as the others: evaluate all on one set")
    return answers


def groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows by dataset trained on and student, in their order."""
    return grouped(rows, GROUP)


def several(group: Sequence[Row]) -> bool:
    """Whether a group has so many comparisons that Holm's p is shown beside the raw one."""
    return sum(row.p_value is not None for row in group) > MANY


def budget(rows: Sequence[Row]) -> str:
    """The budget at which the variants of one group are compared, in words; empty for fewer than two trained ones."""
    return compared_at({row.variant: Cost(row.target_tokens, row.epochs) for row in rows if row.target_tokens})


def markdown(rows: Sequence[Row]) -> str:
    """One table for each dataset trained on and student, with Holm's p if it has more than three comparisons."""
    lines: list[str] = []
    for (train, student), group in groups(rows).items():
        reference, at = group[0].against, budget(group)
        many = several(group)
        names = [
            *("variant", "asked", "n", "seeds", "accuracy", "95%", f"- {reference}", "95%", "p"),
            *(["p (Holm)"] if many else []),
            *("cut off", "target tokens", "CPU s", "wall s", "preparation, CPU s"),
        ]
        lines += [
            f"Trained on {train}, student {student}{f'; compared {at}' if at else ''}; differences in points against"
            f" {reference}:",
            "",
            f"| {' | '.join(names)} |",
            "|---" * len(names) + "|",
            *(f"| {' | '.join(_cells(row, many))} |" for row in group),
            "",
        ]
    return "\n".join(lines)


def _cells(row: Row, many: bool) -> list[str]:
    against = ["", "", "", *([""] if many else [])]
    if row.difference is not None and row.difference_low is not None and row.difference_high is not None:
        span = f"{100 * row.difference_low:+.1f} to {100 * row.difference_high:+.1f}"
        against = [f"{100 * row.difference:+.1f}", span, p_value(row.p_value)]
        against += [p_value(row.p_holm)] if many else []
    return [
        *(row.variant, f"{row.dataset} {row.split}", str(row.questions), str(row.seeds)),
        *(f"{row.accuracy:.1%}", f"{row.low:.1%} to {row.high:.1%}", *against, f"{row.truncated:.1%}"),
        *(f"{row.target_tokens:,}", figure(row.cpu_seconds), figure(row.wall_seconds), figure(row.preparation_seconds)),
    ]
