"""Training rows: ids, weights and steps of one rationale, tokenised once for all epochs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.errors import DataError
from kpod.text.formats import COT, PromptFormat
from kpod.text.groups import Key, keys_of
from kpod.text.tokens import Rationale, answer_ids, prompt_ids, rationale_ids

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


@dataclass(frozen=True)
class Positions:
    """How many positions a model has learnt. `apart`: prompt and target have their own (encoder-decoder)."""

    count: int
    apart: bool = False

    def lack(self, row: Example) -> str | None:
        """Why a row does not fit, or None."""
        needed = max(len(row.prompt), len(row.target)) if self.apart else row.tokens
        return f"{needed} tokens, the model has {self.count} positions" if needed > self.count else None


def reject(key: Key, reason: str) -> dict[str, str]:
    """A row of `schemas.QUARANTINE`."""
    return {"source": "rationales", "row": f"{key[0]}/{key[1]}", "reason": reason}


def read_weights(folder: Path) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
    """`(question_id, sample)` -> token ids int32 [n] and weights float32 [n] of the rationale, views of two arrays."""
    names = ("question_id", "sample", "token_ids", "weight")
    table = schemas.read(folder / "weights.parquet", pa.schema([schemas.WEIGHTS.field(name) for name in names]))
    ids, weights = (table[name].combine_chunks() for name in ("token_ids", "weight"))
    parts = [
        np.split(one.flatten().to_numpy(), np.cumsum(one.value_lengths().to_numpy())[:-1]) for one in (ids, weights)
    ]
    return dict(zip(keys_of(table), zip(*parts, strict=True), strict=True))


def build(
    tokenizer: PreTrainedTokenizerBase,
    rationales: Sequence[Rationale],
    max_tokens: int,
    positions: Positions | None = None,
    form: PromptFormat = COT,
) -> tuple[list[Example], list[dict[str, str]]]:
    """Examples whose tokens all weigh 1, and the rows that cannot be used, as rows of `schemas.QUARANTINE`.

    Rows longer than `max_tokens`, or than the model's `positions`, are left out, never cut.
    """
    examples: list[Example] = []
    rejected: list[dict[str, str]] = []
    tokenised = rationale_ids(tokenizer, [r.text for r in rationales], [r.steps for r in rationales], form.lead)
    for rationale, (ids, step) in zip(rationales, tokenised, strict=True):
        answer = np.asarray(answer_ids(tokenizer, rationale.answer, form), dtype=np.int32)
        made = Example(
            key=rationale.key,
            prompt=np.asarray(prompt_ids(tokenizer, rationale.question, rationale.choices, form), dtype=np.int32),
            target=np.concatenate([ids, answer]),
            weight=np.ones(len(ids) + len(answer), dtype=np.float32),
            step=np.concatenate([step, np.full(len(answer), ANSWER, dtype=np.int32)]),
        )
        if made.tokens > max_tokens:
            rejected.append(reject(rationale.key, f"{made.tokens} tokens, max_tokens is {max_tokens}"))
        else:
            examples.append(made)
    fitting, lacking = within(examples, positions)
    return fitting, rejected + lacking


def within(examples: Sequence[Example], positions: Positions | None) -> tuple[list[Example], list[dict[str, str]]]:
    """The examples that the model's `positions` suffice for, and the others as rows of `schemas.QUARANTINE`."""
    lacking = {id(row): reason for row in examples if positions and (reason := positions.lack(row))}
    return (
        [row for row in examples if id(row) not in lacking],
        [reject(row.key, lacking[id(row)]) for row in examples if id(row) in lacking],
    )


def weighted(
    examples: Sequence[Example],
    weights: Mapping[Key, tuple[np.ndarray, np.ndarray]],
    floor: float = 0.0,
    scale: Literal["raw", "mean1"] = "raw",
) -> tuple[list[Example], list[dict[str, str]]]:
    """The examples with `weights` on their rationales, and those that have none, as rows of `schemas.QUARANTINE`.

    `floor` f turns w into f + (1 - f) w; `mean1` then scales each rationale's weights to mean 1. The answer's tokens
    keep weight 1. Raises DataError if the weights were made with another tokenizer.
    """
    found: list[Example] = []
    rejected: list[dict[str, str]] = []
    for example in examples:
        weight, reason = _weight(example, weights)
        if reason is not None:
            rejected.append(reject(example.key, reason))
            continue
        weight = floor + (1 - floor) * weight
        if scale == "mean1" and weight.sum() > 0:
            weight = weight / weight.mean()
        answer = example.weight[example.rationale_tokens :]
        found.append(replace(example, weight=np.concatenate([weight, answer]).astype(np.float32)))
    return found, rejected


def pruned(
    examples: Sequence[Example], weights: Mapping[Key, tuple[np.ndarray, np.ndarray]], least: float
) -> list[Example]:
    """The examples without the steps in which no token's weight is `least`; one without any other step stays whole.

    `weights` must have every example. Steps keep their numbers, so that a curriculum still fits.
    """
    found = []
    for example in examples:
        steps = example.step[: example.rationale_tokens]
        highest = np.zeros(int(steps.max(initial=-1)) + 1, dtype=np.float32)
        np.maximum.at(highest, steps, weights[example.key][1])
        if (highest >= least).any():
            kept = np.concatenate([highest[steps] >= least, np.full(len(example.step) - len(steps), True)])
            rest = {name: getattr(example, name)[kept] for name in ("target", "weight", "step")}
            example = replace(example, **rest)
        found.append(example)
    return found


def first_samples(examples: Sequence[Example], samples: int) -> list[Example]:
    """The examples that are among the first so many of their question, by sample."""
    places: Counter[str] = Counter()
    kept = set()
    for key in sorted(example.key for example in examples):
        places[key[0]] += 1
        if places[key[0]] <= samples:
            kept.add(key)
    return [example for example in examples if example.key in kept]


def mean_weight(examples: Sequence[Example]) -> float:
    """Mean weight of all tokens of all rationales, the answers' left out."""
    return float(np.mean(np.concatenate([example.weight[: example.rationale_tokens] for example in examples])))


def _weight(example: Example, weights: Mapping[Key, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, str | None]:
    """The weights of one rationale, or why it has none."""
    if example.key not in weights:
        return np.empty(0, dtype=np.float32), "not in weights.parquet"
    ids, weight = weights[example.key]
    if not np.array_equal(ids, example.target[: example.rationale_tokens]):
        raise DataError(
            f"weights.parquet, row {example.key}: other token ids than the student's; rerun the stage weights"
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        return weight, "a weight is negative or not finite"
    return weight, None
