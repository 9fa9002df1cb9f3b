"""Texts to token ids: the same three segments in training, weighting, difficulty and evaluation.

Prompt, rationale and answer are tokenised one by one and the ids concatenated. The prompt of a training row is
therefore, id for id, the prompt that the student sees at evaluation, and the rationale's ids are the same in
`weights.parquet` and in every later stage, whatever the tokenizer would merge across the borders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.prompt import answer_text, prompt
from kpod.steps import token_steps

# A teacher that writes "</s>" must not end the student's sentence: special tokens in a text are plain characters.
_AS_TEXT = {"split_special_tokens": True}


@dataclass(frozen=True)
class Rationale:
    """One kept rationale with its question, the unit of weighting, difficulty and distillation."""

    question_id: str
    sample: int
    question: str
    choices: tuple[str, ...] | None
    answer: str  # gold
    text: str
    steps: tuple[tuple[int, int], ...]  # character span of each step; the spans tile `text`

    @property
    def key(self) -> tuple[str, int]:
        return self.question_id, self.sample


def read_rationales(questions: Path, rationales: Path, steps: Path) -> list[Rationale]:
    """Join the three stages by `(question_id, sample)`; only kept rationales that have steps, in the order of steps."""
    asked = {row["id"]: row for row in _rows(questions / "questions.parquet", schemas.QUESTIONS)}
    texts = {
        (row["question_id"], row["sample"]): row["rationale"]
        for row in _rows(rationales / "rationales.parquet", schemas.RATIONALES)
        if row["kept"]
    }
    spans: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    for row in _rows(steps / "steps.parquet", schemas.STEPS):
        span = (row["step"], row["char_start"], row["char_end"])
        spans.setdefault((row["question_id"], row["sample"]), []).append(span)
    return [
        Rationale(
            *key,
            question=asked[key[0]]["question"],
            choices=tuple(asked[key[0]]["choices"]) if asked[key[0]]["choices"] else None,
            answer=asked[key[0]]["answer"],
            text=texts[key],
            steps=tuple((start, end) for _, start, end in sorted(found)),
        )
        for key, found in spans.items()
        if key in texts and key[0] in asked
    ]


def _rows(path: Path, schema: Any) -> list[dict[str, Any]]:
    return schemas.read(path, schema).to_pylist()


class _Sized(Protocol):
    @property
    def key(self) -> tuple[str, int]: ...

    @property
    def tokens(self) -> int: ...


_Row = TypeVar("_Row", bound=_Sized)


def split_by_tokens(rows: Sequence[_Row], limit: int) -> list[list[_Row]]:
    """Cut rows, ordered by length and key, into batches of at most `limit` padded tokens; a longer row stands alone."""
    batches: list[list[_Row]] = []
    for row in sorted(rows, key=lambda one: (one.tokens, one.key)):
        if batches and row.tokens * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, choices: Sequence[str] | None = None) -> list[int]:
    """Ids of the prompt, with the special tokens that the tokenizer puts around an input (BOS, T5's EOS)."""
    return input_ids(tokenizer, prompt(question, choices))


def input_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text that the student is given, with the tokenizer's own special tokens around it."""
    return tokenizer(text, **_AS_TEXT)["input_ids"]


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Ids of ` Therefore, the answer is <answer>.` and EOS."""
    return [*tokenizer(answer_text(answer), add_special_tokens=False, **_AS_TEXT)["input_ids"], tokenizer.eos_token_id]


def rationale_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], steps: Sequence[Sequence[tuple[int, int]]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids (int32 [n]) of each rationale and the step (int32 [n], non-decreasing) of each of its tokens.

    A token belongs to the step in which it starts.
    """
    return [
        (ids, np.maximum.accumulate(token_steps(spans, np.asarray(found))))
        for (ids, spans), found in zip(token_spans(tokenizer, texts), steps, strict=True)
    ]


def token_spans(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids (int32 [n]) of each rationale and the characters [start, end) (int64 [n, 2]) that each token stands for.

    One space stands before the rationale, as behind the prompt; a token that is only this space has an empty span.
    """
    if not texts:
        return []
    spaced = [f" {text}" for text in texts]
    encoded = tokenizer(spaced, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, **_AS_TEXT)
    result = []
    for row, text in enumerate(spaced):
        ids = encoded["input_ids"][row]
        spans = np.asarray(encoded["offset_mapping"][row] if tokenizer.is_fast else [], dtype=np.int64)
        if not _ordered(spans, len(ids), len(text)):
            spans = _decoded_spans(tokenizer, ids, len(text))
        result.append((np.asarray(ids, dtype=np.int32), np.maximum(spans.reshape(-1, 2) - 1, 0)))
    return result


def _ordered(spans: np.ndarray, tokens: int, characters: int) -> bool:
    """Whether the spans walk through the text: one a token, starts never falling, and not past the end."""
    if spans.shape != (tokens, 2) or not tokens:
        return tokens == 0
    starts, ends = spans[:, 0], spans[:, 1]
    return bool((np.diff(starts) >= 0).all() and (starts <= ends).all() and ends[-1] <= characters)


def _decoded_spans(tokenizer: PreTrainedTokenizerBase, ids: list[int], characters: int) -> np.ndarray:
    """Spans from the length of the decoded prefixes, for tokenizers without usable offsets."""
    lengths = [len(tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False)) for count in range(len(ids) + 1)]
    edges = np.minimum(np.maximum.accumulate(np.asarray(lengths, dtype=np.int64)), characters)
    return np.stack([edges[:-1], edges[1:]], axis=1)
