"""Two students on the same questions: paired, never by position."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kpod.errors import DataError
from kpod.evaluate.statistics import mcnemar_exact, paired_bootstrap

Question = tuple[str, str, str]  # dataset, split, question_id


@dataclass(frozen=True)
class SetComparison:
    """`b` against `a` on one set; `low` and `high` bound accuracy(b) - accuracy(a) at 95%."""

    dataset: str
    split: str
    questions: int
    correct_a: int
    correct_b: int
    only_a: tuple[str, ...]  # ids that only `a` gets right
    only_b: tuple[str, ...]
    low: float
    high: float
    p_value: float  # exact McNemar


@dataclass(frozen=True)
class Comparison:
    """One entry a set of questions, in the order of the predictions."""

    sets: tuple[SetComparison, ...]

    def to_markdown(self) -> str:
        """The comparison as a table, with the first ids that flipped."""
        lines = [
            "| set | questions | A | B | B - A | 95% | p | only A | only B |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for one in self.sets:
            a, b = one.correct_a / one.questions, one.correct_b / one.questions
            lines.append(
                f"| {one.dataset} {one.split} | {one.questions} | {a:.1%} | {b:.1%} | {100 * (b - a):+.1f} |"
                f" {100 * one.low:+.1f} to {100 * one.high:+.1f} | {one.p_value:.3g} | {_ids(one.only_a)} |"
                f" {_ids(one.only_b)} |"
            )
        return "\n".join(lines)


def compare(a: pa.Table, b: pa.Table) -> Comparison:
    """Compare two tables of `schemas.PREDICTIONS`. Raises DataError if they do not hold the same questions."""
    first, second = _by_question(a), _by_question(b)
    if first.keys() != second.keys():
        missing = len(first.keys() ^ second.keys())
        raise DataError(f"the two runs did not answer the same questions ({missing} differ): nothing to compare")
    sets: dict[tuple[str, str], list[Question]] = {}
    for question in first:
        sets.setdefault(question[:2], []).append(question)
    return Comparison(tuple(_compare(first, second, questions) for questions in sets.values()))


def _compare(a: dict[Question, bool], b: dict[Question, bool], questions: list[Question]) -> SetComparison:
    right_a = np.array([a[question] for question in questions])
    right_b = np.array([b[question] for question in questions])
    only_a = tuple(q[2] for q in questions if a[q] and not b[q])
    only_b = tuple(q[2] for q in questions if b[q] and not a[q])
    low, high = paired_bootstrap(right_a, right_b)
    dataset, split, _ = questions[0]
    return SetComparison(
        dataset, split, len(questions), int(right_a.sum()), int(right_b.sum()), only_a, only_b, low, high,
        mcnemar_exact(len(only_a), len(only_b)),
    )  # fmt: skip


def _by_question(table: pa.Table) -> dict[Question, bool]:
    rows = table.select(["dataset", "split", "question_id", "correct"]).to_pylist()
    found = {(row["dataset"], row["split"], row["question_id"]): row["correct"] for row in rows}
    if len(found) != len(rows):
        raise DataError("predictions hold a question twice: restore or recompute them")
    return found


def _ids(ids: tuple[str, ...]) -> str:
    return f"{len(ids)}" + (f" ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else "")
