"""Judging of a student's completions."""

import re
from collections.abc import Mapping
from typing import Any

from kpod.answers.verifiers import Verifier
from kpod.answers.verify import Outcome, verify
from kpod.evaluate.generate import Completion
from kpod.text.prompts import SENTENCE, AnswerFormat


def examine(
    row: Mapping[str, Any], completion: Completion, verifier: Verifier | None = None, form: AnswerFormat = SENTENCE
) -> Outcome:
    """The verdict on a completion for a row of schemas.QUESTIONS.

    A number at the end of a truncated completion is no answer, because it may have had more digits.
    """

    def judged(text: str) -> Outcome:
        return verify(verifier, row.get("question", ""), text, row["answer"], row["choices"], form)

    outcome = judged(completion.text)
    if completion.truncated and (safe := re.sub(r"\d[\d.,/]*\Z", "", completion.text)) != completion.text:
        again = judged(safe)
        return again if again.answer == outcome.answer else Outcome(None, False, 0.0, outcome.failure)
    return outcome


def prediction(row: Mapping[str, Any], completion: Completion, outcome: Outcome) -> dict[str, Any]:
    """The row of schemas.PREDICTIONS for a row of schemas.QUESTIONS, its completion and the verdict."""
    return {
        "question_id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "completion": completion.text,
        "predicted": outcome.answer,
        "answer": row["answer"],
        "correct": outcome.correct,
        "truncated": completion.truncated,
    }
