"""A question that only one of two students answers correctly, with both answers shaded by token weights."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kpod.report.data import Answered, Example
from kpod.report.headline import compared
from kpod.report.token_views import Scale, shaded
from kpod.steps import split
from kpod.text.formats import COT, PromptFormat
from kpod.text.offsets import token_steps
from kpod.text.prompts import question_text
from kpod.text.tokens import token_spans
from kpod.weighting.texts import text_weights

Row = Mapping[str, Any]  # of schemas.PREDICTIONS


def find(predictions: Mapping[str, pa.Table], questions: pa.Table) -> Example | None:
    """An example from the first set on which plain distillation and the last method differ, or None.

    `predictions` holds schemas.PREDICTIONS by method, `questions` is of schemas.QUESTIONS. Of the questions that only
    the student with more such questions answers correctly, the one with the shortest complete answers is returned.
    """
    pair = compared(list(predictions))
    if pair is None:
        return None
    a, b = ({_key(row): row for row in predictions[method].to_pylist()} for method in pair)
    texts = {row["id"]: row for row in questions.to_pylist()}
    for name in dict.fromkeys(key[:2] for key in a):
        keys = [key for key in a if key[:2] == name and key in b]
        only_a = [key for key in keys if a[key]["correct"] and not b[key]["correct"]]
        only_b = [key for key in keys if b[key]["correct"] and not a[key]["correct"]]
        more = only_b if len(only_b) >= len(only_a) else only_a
        whole = [key for key in more if key[2] in texts and not (a[key]["truncated"] or b[key]["truncated"])]
        if not whole:
            continue
        key = min(whole, key=lambda row: (len(a[row]["completion"]) + len(b[row]["completion"]), row))
        question = texts[key[2]]
        students = tuple(
            Answered(method, row["predicted"], row["correct"], row["completion"].strip())
            for method, row in zip(pair, (a[key], b[key]), strict=True)
        )
        return Example(
            dataset=key[0],
            split=key[1],
            question_id=key[2],
            question=question_text(question["question"], question["choices"]),
            answer=question["answer"],
            questions=len(keys),
            only_a=len(only_a),
            only_b=len(only_b),
            students=(students[0], students[1]),
        )
    return None


def with_weights(
    example: Example, weighter: Path, student: Path, tokenizer: Any, scale: Scale, form: PromptFormat = COT
) -> Example:
    """The example with the tokens of both answers shaded by a weighter.

    `weighter` and `student`: folders of the weighter and of the student that it was trained on; `form`: the prompt
    format of the run.
    """
    texts = [answered.completion for answered in example.students]
    weights = text_weights(texts, weighter, student, form)
    spans = token_spans(tokenizer, texts, form.lead)
    students = []
    for answered, (ids, places), weight in zip(example.students, spans, weights, strict=True):
        if weight is None:
            students.append(answered)
            continue
        ends = np.cumsum([len(step) for step in split(answered.completion)]).tolist()
        step = token_steps([places], [list(pairwise([0, *ends]))])[0]
        students.append(
            replace(answered, tokens=shaded(ids.tolist(), step.tolist(), weight.tolist(), tokenizer, scale))
        )
    return replace(example, students=(students[0], students[1]))


def _key(row: Row) -> tuple[str, str, str]:
    return row["dataset"], row["split"], row["question_id"]
