"""Accuracy of a student, by set and by the number of steps that a question needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kpod.evaluate.statistics import wilson
from kpod.questions.workout import work_out

Row = Mapping[str, Any]  # of schemas.PREDICTIONS
Question = tuple[str, str, str]  # dataset, split, question_id


@dataclass(frozen=True)
class Accuracy:
    """Right answers of one method on one set of questions; shares and interval ends are in [0, 1]."""

    method: str
    dataset: str
    split: str
    questions: int
    correct: int
    low: float  # 95% interval
    high: float
    truncated: float  # share of outputs that ran out of tokens
    answerless: float  # share of outputs without an answer

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 without questions."""
        return self.correct / self.questions if self.questions else 0.0


def accuracy(method: str, dataset: str, split: str, rows: Sequence[Row]) -> Accuracy:
    """Accuracy over rows of schemas.PREDICTIONS (at least one), with Wilson's 95% interval."""
    correct = sum(row["correct"] for row in rows)
    low, high = wilson(correct, len(rows))
    truncated = sum(row["truncated"] for row in rows) / len(rows)
    answerless = sum(row["predicted"] is None for row in rows) / len(rows)
    return Accuracy(method, dataset, split, len(rows), correct, low, high, truncated, answerless)


def by_question(predictions: pa.Table) -> dict[Question, dict[str, Any]]:
    """The rows of a table of schemas.PREDICTIONS by question, in its order; of a question held twice the last row."""
    return {(row["dataset"], row["split"], row["question_id"]): row for row in predictions.to_pylist()}


def accuracies(method: str, predictions: pa.Table) -> list[Accuracy]:
    """One entry for each (dataset, split) of a table of schemas.PREDICTIONS, in its order."""
    sets: dict[tuple[str, str], list[Row]] = {}
    for row in predictions.to_pylist():
        sets.setdefault((row["dataset"], row["split"]), []).append(row)
    return [accuracy(method, dataset, split, rows) for (dataset, split), rows in sets.items()]


def by_steps(method: str, predictions: pa.Table, questions: pa.Table) -> dict[int, Accuracy]:
    """Accuracy by the number of operations of a question, over all sets, ascending.

    Tables of schemas.PREDICTIONS and schemas.QUESTIONS. Only generated word problems count, which `work_out` solves.
    """
    texts = {row["id"]: row["question"] for row in questions.to_pylist()}
    groups: dict[int, list[Row]] = {}
    for row in predictions.to_pylist():
        if worked := work_out(texts.get(row["question_id"], "")):
            groups.setdefault(len(worked.steps), []).append(row)
    return {steps: accuracy(method, "all", "all", groups[steps]) for steps in sorted(groups)}


def as_dict(row: Accuracy) -> dict[str, Any]:
    """The fields of an entry and its accuracy, for JSON."""
    return {**vars(row), "accuracy": row.accuracy}
