"""Whether what a student wrote is right."""

import re
from collections.abc import Mapping
from typing import Any

from kpod.answers.formats import as_sentence
from kpod.answers.verifiers import PythonVerifier, Verifier
from kpod.answers.verify import Outcome, verify
from kpod.evaluate.generate import Completion
from kpod.text.prompts import SENTENCE, AnswerFormat


def examine(
    row: Mapping[str, Any], completion: Completion, verifier: Verifier | None = None, form: AnswerFormat = SENTENCE
) -> Outcome:
    """What the verifier finds in the student's completion for a row of schemas.QUESTIONS.

    A number that a truncated text ends in may have had more digits: it is no answer.
    """
    found = _verify(row, completion.text, verifier, form)
    if completion.truncated and (safe := re.sub(r"\d[\d.,/]*\Z", "", completion.text)) != completion.text:
        again = _verify(row, safe, verifier, form)
        return again if again.answer == found.answer else Outcome(None, False, 0.0, found.failure)
    return found


def prediction(row: Mapping[str, Any], completion: Completion, outcome: Outcome) -> dict[str, Any]:
    """A row of schemas.PREDICTIONS."""
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


def judged(
    row: Mapping[str, Any], completion: Completion, verifier: Verifier | None = None, form: AnswerFormat = SENTENCE
) -> dict[str, Any]:
    """A row of schemas.PREDICTIONS for a row of schemas.QUESTIONS and the student's completion."""
    return prediction(row, completion, examine(row, completion, verifier, form))


def _verify(row: Mapping[str, Any], text: str, verifier: Verifier | None, form: AnswerFormat) -> Outcome:
    text = text if isinstance(verifier, PythonVerifier) else as_sentence(form, text)
    return verify(verifier, row.get("question", ""), text, row["answer"], row["choices"])
