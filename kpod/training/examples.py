"""Training rows: ids, weights and steps of one rationale, tokenised once for all epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.errors import DataError
from kpod.text.tokens import Rationale, answer_ids, prompt_ids, rationale_ids

Key = tuple[str, int]
ANSWER = np.iinfo(np.int32).max  # "step" of the answer's tokens: behind every step, so never given as input


@dataclass(frozen=True, eq=False)
class Example:
    """One row. `target` is what the student learns to write: rationale, answer words, answer, EOS."""

    key: Key
    prompt: np.ndarray  # int32 [p], p >= 1
    target: np.ndarray  # int32 [n], n >= 1
    weight: np.ndarray  # float32 [n]
    step: np.ndarray  # int32 [n], non-decreasing; ANSWER from the answer words on
    form: str = ""  # which of several records that are made of one rationale

    def __post_init__(self) -> None:
        sizes = {len(self.target), len(self.weight), len(self.step)}
        if len(sizes) != 1 or not len(self.prompt) or not len(self.target) or self.step[-1] != ANSWER:
            raise DataError(f"row {self.key}: needs a prompt and a target that ends in an answer, one weight a token")

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.target)

    @property
    def rationale_tokens(self) -> int:
        """Number of target tokens in front of the answer's."""
        return self.given(ANSWER)

    def given(self, input_steps: int) -> int:
        """Number of leading target tokens that are input when the first `input_steps` steps are (c_i of Eq. 15)."""
        return int(np.searchsorted(self.step, input_steps, side="left"))


def example(key: Key, prompt: Sequence[int], rationale: Sequence[int], answer: Sequence[int]) -> Example:
    """A row whose tokens all weigh 1 and whose rationale is one step."""
    return Example(
        key=key,
        prompt=np.asarray(prompt, dtype=np.int32),
        target=np.asarray([*rationale, *answer], dtype=np.int32),
        weight=np.ones(len(rationale) + len(answer), dtype=np.float32),
        step=np.asarray([0] * len(rationale) + [ANSWER] * len(answer), dtype=np.int32),
    )


def reject(key: Key, reason: str) -> dict[str, str]:
    """A row of `schemas.QUARANTINE`."""
    return {"source": "rationales", "row": f"{key[0]}/{key[1]}", "reason": reason}


def read_weights(folder: Path) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
    """`(question_id, sample)` -> token ids int32 [n] and weights float32 [n] of the rationale."""
    table = schemas.read(folder / "weights.parquet", schemas.WEIGHTS)
    return {
        (row["question_id"], row["sample"]): (
            np.asarray(row["token_ids"], dtype=np.int32),
            np.asarray(row["weight"], dtype=np.float32),
        )
        for row in table.to_pylist()
    }


def build(
    tokenizer: PreTrainedTokenizerBase,
    rationales: Sequence[Rationale],
    max_tokens: int,
    weights: Mapping[Key, tuple[np.ndarray, np.ndarray]] | None = None,
    weight_scale: Literal["raw", "mean1"] = "raw",
) -> tuple[list[Example], list[dict[str, str]]]:
    """Examples and the rows that cannot be used, as rows of `schemas.QUARANTINE`.

    `weights` None means 1 for every token. Rows longer than `max_tokens` are left out, never cut. Raises
    DataError if the weights were made with another tokenizer.
    """
    examples: list[Example] = []
    rejected: list[dict[str, str]] = []
    tokenised = rationale_ids(tokenizer, [r.text for r in rationales], [r.steps for r in rationales])
    for rationale, (ids, step) in zip(rationales, tokenised, strict=True):
        prompt = np.asarray(prompt_ids(tokenizer, rationale.question, rationale.choices), dtype=np.int32)
        answer = np.asarray(answer_ids(tokenizer, rationale.answer), dtype=np.int32)
        total = len(prompt) + len(ids) + len(answer)
        reason = f"{total} tokens, max_tokens is {max_tokens}" if total > max_tokens else None
        weight = np.ones(len(ids), dtype=np.float32)
        if weights is not None and reason is None:
            weight, reason = _weight(rationale.key, ids, weights, weight_scale)
        if reason is not None:
            rejected.append(reject(rationale.key, reason))
            continue
        examples.append(
            Example(
                key=rationale.key,
                prompt=prompt,
                target=np.concatenate([ids, answer]),
                weight=np.concatenate([weight, np.ones(len(answer), dtype=np.float32)]),
                step=np.concatenate([step, np.full(len(answer), ANSWER, dtype=np.int32)]),
            )
        )
    return examples, rejected


def _weight(
    key: Key, ids: np.ndarray, weights: Mapping[Key, tuple[np.ndarray, np.ndarray]], scale: str
) -> tuple[np.ndarray, str | None]:
    """The weights of one rationale, or why it has none."""
    if key not in weights:
        return np.empty(0, dtype=np.float32), "not in weights.parquet"
    weighted_ids, weight = weights[key]
    if not np.array_equal(weighted_ids, ids):
        raise DataError(f"weights.parquet, row {key}: other token ids than the student's; rerun the stage weights")
    if not np.isfinite(weight).all() or (weight < 0).any():
        return weight, "a weight is negative or not finite"
    if scale == "mean1" and weight.sum() > 0:
        weight = weight / weight.mean()
    return weight, None
