"""The segments of a row one by one: ids of prompt and answer, ids and steps of rationales."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.text.formats import COT, PromptFormat
from kpod.text.offsets import token_steps
from kpod.text.tokens import token_spans


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, question: str, choices: Sequence[str] | None = None, form: PromptFormat = COT
) -> list[int]:
    return form.prompt_ids(tokenizer, question, choices)


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, form: PromptFormat = COT) -> list[int]:
    return form.answer_ids(tokenizer, answer)


def rationale_ids(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    steps: Sequence[Sequence[tuple[int, int]]],
    lead: str = COT.lead,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids of each rationale and the step of each of its tokens; `steps`: character spans of the steps."""
    placed = token_spans(tokenizer, texts, lead)
    found = token_steps([spans for _, spans in placed], steps)
    return [(ids, step) for (ids, _), step in zip(placed, found, strict=True)]
