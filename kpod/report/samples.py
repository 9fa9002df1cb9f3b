"""Sample answers: questions that one method answers correctly or wrongly, with the answers of all methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kpod.evaluate.accuracy import Question, by_question
from kpod.report.data import Answered
from kpod.report.token_views import spread
from kpod.text.prompts import question_text

EACH = 3  # samples of a kind


@dataclass(frozen=True)
class Sample:
    """One question with the output of each method."""

    question_id: str
    dataset: str
    question: str | None
    answer: str
    outputs: tuple[Answered, ...]


@dataclass(frozen=True)
class Group:
    """Samples of one kind, out of `total` questions of this kind."""

    title: str
    total: int
    samples: tuple[Sample, ...]


def sample_groups(predictions: Mapping[str, pa.Table], questions: pa.Table | None) -> list[Group]:
    """Questions that every method answered, by whether the last method and the others are right; a few of each kind.

    `predictions` holds schemas.PREDICTIONS by method; questions are matched by (dataset, split, question_id).
    Kinds without a question are left out.
    """
    answers = {method: by_question(table) for method, table in predictions.items()}
    focus = list(answers)[-1]
    kinds: dict[str, list[Question]] = {title: [] for title in _titles(focus, len(answers))}
    for key, row in answers[focus].items():
        if all(key in rows for rows in answers.values()):
            others = [rows[key]["correct"] for method, rows in answers.items() if method != focus]
            kinds[_kind(focus, row["correct"], others)].append(key)
    texts = _questions(questions, kinds)
    groups = []
    for title, keys in kinds.items():
        chosen = [keys[i] for i in spread(len(keys), EACH)]
        samples = tuple(_sample(key, answers, texts) for key in chosen)
        if samples:
            groups.append(Group(title, len(keys), samples))
    return groups


def _titles(focus: str, methods: int) -> list[str]:
    if methods == 1:
        return [f"{focus} is right", f"{focus} is wrong"]
    return [f"{focus} is right, another is wrong", f"{focus} is wrong, another is right", "All right", "All wrong"]


def _kind(focus: str, correct: bool, others: list[bool]) -> str:
    titles = _titles(focus, 1 + len(others))
    if not others or any(other != correct for other in others):
        return titles[0 if correct else 1]
    return titles[2 if correct else 3]


def _questions(questions: pa.Table | None, kinds: Mapping[str, list[Question]]) -> dict[str, str]:
    if questions is None:
        return {}
    ids = {keys[i][2] for keys in kinds.values() for i in spread(len(keys), EACH)}
    rows = questions.filter(pc.is_in(questions["id"], pa.array(sorted(ids), pa.string()))).to_pylist()
    return {row["id"]: question_text(row["question"], row["choices"]) for row in rows}


def _sample(
    key: Question,
    answers: Mapping[str, Mapping[Question, dict[str, Any]]],
    texts: Mapping[str, str],
) -> Sample:
    outputs = tuple(
        Answered(method, row["predicted"], row["correct"], row["completion"], row["truncated"])
        for method, rows in answers.items()
        for row in [rows[key]]
    )
    answer = next(iter(answers.values()))[key]["answer"]
    return Sample(key[2], key[0], texts.get(key[2]), answer, outputs)
