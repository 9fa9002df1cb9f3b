"""Paired comparison of two students on the same questions, matched by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kpod.errors import DataError
from kpod.evaluate.accuracy import Question, by_question
from kpod.evaluate.statistics import MANY, holm, mcnemar_exact, paired_bootstrap
from kpod.text.hygiene import clean

LONGEST = 300  # characters of a completion
SHOWN = 3  # flips a set and direction that the Markdown shows with their completions


@dataclass(frozen=True)
class Flip:
    """A question that only one of two students answers correctly."""

    question_id: str
    answer: str
    predicted_a: str | None
    predicted_b: str | None
    completion_a: str
    completion_b: str


@dataclass(frozen=True)
class SetComparison:
    """`b` against `a` on one set; `low` and `high` bound accuracy(b) - accuracy(a) at 95%."""

    dataset: str
    split: str
    questions: int
    correct_a: int
    correct_b: int
    only_a: tuple[Flip, ...]  # questions that only `a` gets right
    only_b: tuple[Flip, ...]
    low: float
    high: float
    p_value: float  # exact McNemar

    @property
    def accuracy_a(self) -> float:
        """Share of right answers of `a`."""
        return self.correct_a / self.questions

    @property
    def accuracy_b(self) -> float:
        """Share of right answers of `b`."""
        return self.correct_b / self.questions


@dataclass(frozen=True)
class Comparison:
    """The comparison of two students, one entry for each set of questions."""

    sets: tuple[SetComparison, ...]

    def to_markdown(self) -> str:
        """The comparison as a table, followed by the first flips of each set with both completions."""
        many = len(self.sets) > MANY
        lines = [
            f"| set | questions | A | B | B - A | 95% | p (McNemar) |{' p (Holm) |' if many else ''} only A | only B |",
            "|---|---|---|---|---|---|---|---|---|" + ("---|" if many else ""),
        ]
        for row, corrected in zip(self.sets, holm([row.p_value for row in self.sets]), strict=True):
            lines.append(
                f"| {row.dataset} {row.split} | {row.questions} | {row.accuracy_a:.1%} | {row.accuracy_b:.1%} |"
                f" {100 * (row.accuracy_b - row.accuracy_a):+.1f} | {100 * row.low:+.1f} to {100 * row.high:+.1f} |"
                f" {row.p_value:.3g} |{f' {corrected:.3g} |' if many else ''} {len(row.only_a)} | {len(row.only_b)} |"
            )
        for row in self.sets:
            for name, flips in (("A", row.only_a), ("B", row.only_b)):
                lines += _flips(f"{row.dataset} {row.split}: only {name} is right", flips)
        return "\n".join(lines)


def compare(a: pa.Table, b: pa.Table) -> Comparison:
    """Compare two tables of `schemas.PREDICTIONS` by exact McNemar tests and paired bootstrap intervals.

    Raises DataError if they do not hold the same questions with the same gold answers, or one of them twice.
    """
    first, second = _unique(a, "A"), _unique(b, "B")
    if not first and not second:
        raise DataError("neither run has an answer to compare")
    if first.keys() != second.keys():
        only = f"{len(first.keys() - second.keys())} only in A, {len(second.keys() - first.keys())} only in B"
        raise DataError(f"the two runs did not answer the same questions ({only}): evaluate both on one set")
    if other := [question for question in first if first[question]["answer"] != second[question]["answer"]]:
        raise DataError(f"{len(other)} questions have another gold answer in B, the first is {'/'.join(other[0])}")
    sets: dict[tuple[str, str], list[Question]] = {}
    for question in first:
        sets.setdefault(question[:2], []).append(question)
    return Comparison(tuple(_compare(first, second, questions) for questions in sets.values()))


def steps_markdown(a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of accuracy by number of steps, from `steps` of two metrics.json; empty if they share no number."""
    shared = [count for count in a if count in b]
    lines = [f"| {n} | {a[n]['questions']} | {a[n]['accuracy']:.1%} | {b[n]['accuracy']:.1%} |" for n in shared]
    return "\n".join(["| steps | questions | A | B |", "|---|---|---|---|", *lines]) if lines else ""


def _compare(
    a: dict[Question, dict[str, Any]], b: dict[Question, dict[str, Any]], questions: list[Question]
) -> SetComparison:
    right_a = np.array([a[question]["correct"] for question in questions])
    right_b = np.array([b[question]["correct"] for question in questions])
    flips = [_flip(a[question], b[question]) for question in questions]
    only_a = tuple(flips[i] for i in np.flatnonzero(right_a & ~right_b))
    only_b = tuple(flips[i] for i in np.flatnonzero(right_b & ~right_a))
    low, high = paired_bootstrap(right_a, right_b)
    dataset, split, _ = questions[0]
    return SetComparison(
        dataset=dataset,
        split=split,
        questions=len(questions),
        correct_a=int(right_a.sum()),
        correct_b=int(right_b.sum()),
        only_a=only_a,
        only_b=only_b,
        low=low,
        high=high,
        p_value=mcnemar_exact(len(only_a), len(only_b)),
    )


def _flip(a: dict[str, Any], b: dict[str, Any]) -> Flip:
    return Flip(a["question_id"], a["answer"], a["predicted"], b["predicted"], a["completion"], b["completion"])


def _unique(predictions: pa.Table, name: str) -> dict[Question, dict[str, Any]]:
    rows = by_question(predictions)
    if twice := len(predictions) - len(rows):
        raise DataError(f"{name} holds {twice} questions twice: restore or recompute its predictions")
    return rows


def _flips(title: str, flips: Sequence[Flip]) -> list[str]:
    if not flips:
        return []
    lines = ["", f"**{title}** ({len(flips)}{f', the first {SHOWN}' if len(flips) > SHOWN else ''})", ""]
    for flip in flips[:SHOWN]:
        lines.append(f"- `{flip.question_id}`, gold {flip.answer}")
        lines.append(f"  - A said {_short(flip.predicted_a or 'nothing')}: {_short(flip.completion_a)}")
        lines.append(f"  - B said {_short(flip.predicted_b or 'nothing')}: {_short(flip.completion_b)}")
    return lines


def _short(text: str) -> str:
    """One line of at most LONGEST characters; the beginning is cut, since the answer is at the end."""
    text = " ".join(clean(text).split())
    return text if len(text) <= LONGEST else f"... {text[-LONGEST:]}"
