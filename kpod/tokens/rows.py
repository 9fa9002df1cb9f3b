"""Rationales to the columns of `schemas.TOKENS`, and the rationales that are left out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.answers.formats import strip_statement
from kpod.text.formats import COT, PromptFormat
from kpod.text.groups import Key
from kpod.text.offsets import token_steps
from kpod.text.rationales import CHUNK, Rationale, Rationales
from kpod.text.table import Column, Tokens, list_array
from kpod.text.tokens import token_spans

_WORDS = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s.,;:!?*`'\"]")  # of a text, with the signs that change what it says
_DROPPED = str.maketrans("", "", ".,;:!?*`'\"")


def tokenise(tokenizer: PreTrainedTokenizerBase, rationales: Sequence[Rationale], form: PromptFormat = COT) -> Tokens:
    """The tokens of some rationales, in memory; all of them are kept."""
    return Tokens.of(columns(tokenizer, rationales[at : at + CHUNK], form) for at in range(0, len(rationales), CHUNK))


def columns(
    tokenizer: PreTrainedTokenizerBase, rationales: Sequence[Rationale], form: PromptFormat
) -> Mapping[str, Any]:
    """The columns of `schemas.TOKENS` of some rationales, in their order.

    A token belongs to the step in which it starts; `visible` counts the tokens in front of a closing statement of
    the answer. The samples of a question share the tokenisation of its prompt and answer.
    """
    place: dict[tuple[str, str], int] = {}
    of = [place.setdefault((one.question_id, one.question), len(place)) for one in rationales]
    asked = [rationales[row] for row in np.unique(of, return_index=True)[1].tolist()]
    prompts = form.prompts_ids(tokenizer, [(one.question, one.choices) for one in asked])
    stated = {answer: form.answer_ids(tokenizer, answer) for answer in dict.fromkeys(one.answer for one in asked)}
    texts = [one.text for one in rationales]
    placed = token_spans(tokenizer, texts, form.lead)
    steps = token_steps([spans for _, spans in placed], [one.steps for one in rationales])
    visible = [
        len(ids) if (shown := len(strip_statement(form.answer, text))) == len(text.rstrip())
        else int((spans[:, 0] < shown).sum())
        for text, (ids, spans) in zip(texts, placed, strict=True)
    ]  # fmt: skip
    lists = {
        "prompt_ids": Column.of([prompts[number] for number in of]),
        "rationale_ids": Column.of([ids for ids, _ in placed]),
        "step": Column.of(steps),
        "answer_ids": Column.of([stated[one.answer] for one in rationales]),
    }
    return {
        "question_id": [one.question_id for one in rationales],
        "sample": np.array([one.sample for one in rationales], dtype=np.int32),
        "steps": np.array([len(one.steps) for one in rationales], dtype=np.int32),
        "visible": np.array(visible, dtype=np.int32),
        **{name: list_array(one.values, one.size) for name, one in lists.items()},
    }


def unusable(rationales: Rationales) -> dict[int, str]:
    """Places of the rationales that are left out whatever the tokenizer, with the reason.

    Texts of one question that differ in case, white space and punctuation alone are copies: training on both is
    training twice on one. The first sample stays.
    """
    reasons: dict[int, str] = {}
    several = Counter(rationales.keys.code.tolist())
    alike: dict[tuple[int, int], list[tuple[int, Key, str]]] = {}
    for place, (code, one) in enumerate(zip(rationales.keys.code.tolist(), rationales, strict=True)):
        if not one.answer.strip():
            reasons[place] = "the question has no answer"
        elif several[code] > 1:
            letters = "".join(one.text.casefold().split()).translate(_DROPPED)
            alike.setdefault((code, hash(letters)), []).append((place, one.key, one.text))
    for group in alike.values():  # words are compared where the letters are the same
        first: dict[str, int] = {}
        for place, key, text in group if len(group) > 1 else ():
            sample = first.setdefault(" ".join(_WORDS.findall(text.casefold())), key[1])
            if sample != key[1]:
                reasons[place] = f"the same text as sample {sample}"
    return reasons
