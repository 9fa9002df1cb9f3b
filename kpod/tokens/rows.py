"""Tokenisation of rationales to the columns of `schemas.TOKENS`, and which of them are left out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.answers.formats import strip_statement
from kpod.text.formats import COT, PromptFormat
from kpod.text.offsets import token_steps
from kpod.text.rationales import CHUNK, Rationale, Rationales
from kpod.text.table import Column, Tokens, list_array
from kpod.text.tokens import token_spans

_WORDS = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s.,;:!?*`'\"]")  # of a text, with the signs that change what it says
_PUNCTUATION = str.maketrans("", "", ".,;:!?*`'\"")


def tokenise(tokenizer: PreTrainedTokenizerBase, rationales: Sequence[Rationale], form: PromptFormat = COT) -> Tokens:
    """The table of tokens of `rationales`, in memory, one row each."""
    return Tokens.of(columns(tokenizer, rationales[at : at + CHUNK], form) for at in range(0, len(rationales), CHUNK))


def columns(
    tokenizer: PreTrainedTokenizerBase, rationales: Sequence[Rationale], form: PromptFormat
) -> Mapping[str, Any]:
    """The columns of `schemas.TOKENS` of `rationales`, in their order.

    A token belongs to the step in which it starts; `visible` counts the tokens before the closing statement of the
    answer. Prompt and answer are tokenised once for all samples of a question.
    """
    number_of: dict[tuple[str, str], int] = {}
    number = [number_of.setdefault((row.question_id, row.question), len(number_of)) for row in rationales]
    questions = [rationales[row] for row in np.unique(number, return_index=True)[1].tolist()]
    prompts = form.prompts_ids(tokenizer, [(row.question, row.choices) for row in questions])
    answers = list(dict.fromkeys(row.answer for row in questions))
    stated = dict(zip(answers, form.answers_ids(tokenizer, answers), strict=True))
    texts = [row.text for row in rationales]
    encoded = token_spans(tokenizer, texts, form.lead)
    steps = token_steps([spans for _, spans in encoded], [row.steps for row in rationales])
    visible = [
        len(ids) if (shown := len(strip_statement(form.answer, text))) == len(text.rstrip())
        else int((spans[:, 0] < shown).sum())
        for text, (ids, spans) in zip(texts, encoded, strict=True)
    ]  # fmt: skip
    lists = {
        "prompt_ids": Column.of([prompts[question] for question in number]),
        "rationale_ids": Column.of([ids for ids, _ in encoded]),
        "step": Column.of(steps),
        "answer_ids": Column.of([stated[row.answer] for row in rationales]),
    }
    return {
        "question_id": [row.question_id for row in rationales],
        "sample": np.array([row.sample for row in rationales], dtype=np.int32),
        "steps": np.array([len(row.steps) for row in rationales], dtype=np.int32),
        "visible": np.array(visible, dtype=np.int32),
        **{name: list_array(column.values, column.size) for name, column in lists.items()},
    }


def unusable(rationales: Rationales) -> dict[int, str]:
    """Row -> reason, of the rationales that are left out whatever the tokenizer.

    These are rationales of questions without an answer, and copies: texts of one question that differ only in case,
    white space and punctuation, of which the first sample is kept.
    """
    reasons: dict[int, str] = {}
    codes = rationales.keys.code.tolist()
    several = Counter(codes)
    seen: dict[tuple[int, int], list[int]] = {}  # question and hash of the letters -> rows with different words
    for row, (code, rationale) in enumerate(zip(codes, rationales, strict=True)):
        if not rationale.answer.strip():
            reasons[row] = "the question has no answer"
        elif several[code] > 1:
            alike = seen.setdefault((code, hash(_letters(rationale.text))), [])
            words = _words(rationale.text) if alike else []
            first = next((rationales[other] for other in alike if _words(rationales[other].text) == words), None)
            if first is None:
                alike.append(row)
            else:
                reasons[row] = f"the same text as sample {first.sample}"
    return reasons


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _letters(text: str) -> str:
    """What texts of the same words share; found several times as fast as the words."""
    return "".join(text.casefold().split()).translate(_PUNCTUATION)
