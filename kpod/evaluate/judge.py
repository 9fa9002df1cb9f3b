"""Whether what a student wrote is right."""

import re
from collections.abc import Mapping
from typing import Any

from kpod.answers.extract import answers_equal, extract_answer
from kpod.evaluate.generate import Completion


def judged(row: Mapping[str, Any], completion: Completion) -> dict[str, Any]:
    """A row of schemas.PREDICTIONS for a row of schemas.QUESTIONS and the student's completion.

    A number that a truncated text ends in may have had more digits: it is no answer.
    """
    predicted = extract_answer(completion.text, row["choices"])
    if completion.truncated:
        safe = re.sub(r"\d[\d.,/]*\Z", "", completion.text)
        predicted = predicted if extract_answer(safe, row["choices"]) == predicted else None
    return {
        "question_id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "completion": completion.text,
        "predicted": predicted,
        "answer": row["answer"],
        "correct": answers_equal(predicted, row["answer"]),
        "truncated": completion.truncated,
    }
