"""Training rows: ids, weights and steps of a rationale, as views of flat columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from kpod.errors import DataError
from kpod.text.groups import Key, places_within
from kpod.text.table import Column, TokenRows, Tokens

ANSWER = np.iinfo(np.int32).max  # "step" of the answer's tokens: behind every step, so never input
_CHUNK = 8192  # rationales whose steps are counted at a time


@dataclass(frozen=True, eq=False)
class Example:
    """One row; the target is rationale, statement of the answer, and EOS."""

    key: Key
    prompt: np.ndarray  # int32 [p], p >= 1
    target: np.ndarray  # int32 [n], n >= 1
    weight: np.ndarray  # float32 [n]
    step: np.ndarray  # int32 [n], non-decreasing; ANSWER from the answer words on
    form: str = ""  # distinguishes several records of one rationale

    def __post_init__(self) -> None:
        sizes = {len(self.target), len(self.weight), len(self.step)}
        if len(sizes) != 1 or not len(self.prompt) or not len(self.target) or self.step[-1] != ANSWER:
            raise DataError(f"row {self.key}: needs a prompt and a target that ends in an answer, one weight a token")

    @property
    def tokens(self) -> int:
        """Tokens of prompt and target."""
        return len(self.prompt) + len(self.target)

    @property
    def rationale_tokens(self) -> int:
        """Number of target tokens before those of the answer."""
        return self.input_tokens(ANSWER)

    def input_tokens(self, input_steps: int) -> int:
        """Number of leading target tokens that are input if the first `input_steps` steps are (c_i of Eq. 15)."""
        return int(np.searchsorted(self.step, input_steps, side="left"))


def example(key: Key, prompt: Sequence[int], rationale: Sequence[int], answer: Sequence[int]) -> Example:
    """A row with weights of 1 whose rationale is one step."""
    return Example(
        key=key,
        prompt=np.asarray(prompt, dtype=np.int32),
        target=np.asarray([*rationale, *answer], dtype=np.int32),
        weight=np.ones(len(rationale) + len(answer), dtype=np.float32),
        step=np.asarray([0] * len(rationale) + [ANSWER] * len(answer), dtype=np.int32),
    )


class Examples(TokenRows[Example]):
    """Rows of a table of tokens, all of them by default.

    `weight`: the weights of the rationales' tokens, a column with a row for each row of `tokens`; None: 1. Those of the
    answers are 1. `form`, str [len(tokens)]: tells apart the records that a method makes of a rationale.
    """

    def __init__(
        self,
        tokens: Tokens,
        rows: np.ndarray | None = None,
        weight: Column | None = None,
        form: np.ndarray | None = None,
    ) -> None:
        super().__init__(tokens, np.arange(len(tokens)) if rows is None else rows)
        self.weight, self.form = weight, form

    @classmethod
    def of(cls, rows: Sequence[Example]) -> "Examples":
        """Rows that are in memory, as a table."""
        size = np.array([row.rationale_tokens for row in rows], dtype=np.int32)
        cut = list(zip(rows, size.tolist(), strict=True))
        steps = [int(row.step[:n].max(initial=-1)) + 1 for row, n in cut]
        columns = {
            "question_id": [row.key[0] for row in rows],
            "sample": [row.key[1] for row in rows],
            "steps": steps,
            "visible": size,
            "prompt_ids": [row.prompt for row in rows],
            "rationale_ids": [row.target[:n] for row, n in cut],
            "step": [row.step[:n] for row, n in cut],
            "answer_ids": [row.target[n:] for row, n in cut],
        }
        weight = Column.of([row.weight[:n] for row, n in cut], np.float32)
        return cls(Tokens.of([columns]), weight=weight, form=np.array([row.form for row in rows], dtype=str))

    def row(self, number: int) -> Example:
        tokens = self.tokens
        rationale, answer = tokens.rationale[number], tokens.answer[number]
        ones = np.ones(len(answer), dtype=np.float32)
        weight = np.ones(len(rationale), dtype=np.float32) if self.weight is None else self.weight[number]
        return Example(
            key=tokens.keys[number],
            prompt=tokens.prompt[number],
            target=np.concatenate([rationale, answer]),
            weight=np.concatenate([weight, ones]),
            step=np.concatenate([tokens.step[number], np.full(len(answer), ANSWER, dtype=np.int32)]),
            form="" if self.form is None else str(self.form[number]),
        )

    def columns(self) -> list[Column]:
        return super().columns() + ([] if self.weight is None else [self.weight])

    @property
    def questions(self) -> np.ndarray:
        """A number for the question of each row, int32 [n]."""
        return self.tokens.keys.code[self.rows]

    @property
    def forms(self) -> np.ndarray:
        """A number for the form of each row, int64 [n], in the order of the forms' names."""
        if self.form is None:
            return np.zeros(len(self), dtype=np.int64)
        return np.unique(self.form[self.rows], return_inverse=True)[1]

    def first(self, samples: int) -> "Examples":
        """The rows of the first `samples` rationales of each question."""
        order = np.lexsort((self.tokens.keys.sample[self.rows], self.questions))
        return self.take(np.sort(order[places_within(self.questions[order]) < samples]))

    def input_tokens(self, input_steps: np.ndarray) -> np.ndarray:
        """Number of leading target tokens that are input, int32 [stages, n], for `input_steps` int [stages, n]."""
        result = np.empty(input_steps.shape, dtype=np.int32)
        for at in range(0, len(self), _CHUNK):
            rows = self.rows[at : at + _CHUNK]
            size, step = self.tokens.step.size[rows], self.tokens.step.flat(rows) + 1
            width = int(step.max(initial=0)) + 1
            place = np.repeat(np.arange(len(rows)) * width, size) + step
            upto = np.bincount(place, minlength=len(rows) * width).reshape(-1, width).cumsum(axis=1)
            column = np.minimum(input_steps[:, at : at + _CHUNK], width - 1)
            result[:, at : at + _CHUNK] = upto[np.arange(len(rows)), column]
        return result

    def mean_weight(self) -> float:
        """Mean weight of all tokens of all rationales, without those of the answers."""
        if self.weight is None:
            return 1.0
        sums = [self.weight.flat(part.rows).sum(dtype=np.float64) for part in self.parts()]
        return float(sum(sums) / max(1, self.weight.size[self.rows].sum()))


Rows = TypeVar("Rows", bound=TokenRows[Any])


@dataclass(frozen=True)
class Positions:
    """The number of positions of a model."""

    count: int
    apart: bool = False  # whether prompt and target have their own (encoder-decoder)

    def needed(self, prompts: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Positions that rows with so many tokens of prompt and target need, int64 [n]."""
        return np.maximum(prompts, targets) if self.apart else prompts + targets


def reject(key: Key, reason: str) -> dict[str, str]:
    """A row of `schemas.QUARANTINE`."""
    return {"source": "rationales", "row": f"{key[0]}/{key[1]}", "reason": reason}


def usable(
    tokens: Tokens, max_tokens: int, positions: Positions | None = None
) -> tuple[Examples, list[dict[str, str]]]:
    """The usable examples, with weights of 1, and rows of `schemas.QUARANTINE` for the others.

    Rows longer than `max_tokens`, or than the model's `positions`, are left out, never truncated.
    """
    return within(Examples(tokens), max_tokens, positions)


def within(examples: Rows, max_tokens: int, positions: Positions | None = None) -> tuple[Rows, list[dict[str, str]]]:
    """The examples that fit, and rows of `schemas.QUARANTINE` for the others; see `usable`."""
    limits = [(examples.sizes, max_tokens, f"max_tokens is {max_tokens}")]
    if positions:
        needed = positions.needed(examples.prompts, examples.targets)
        limits.append((needed, positions.count, f"the model has {positions.count} positions"))
    fits, rejected = np.ones(len(examples), dtype=bool), []
    for size, most, why in limits:
        long = np.flatnonzero(fits & (size > most)).tolist()
        rejected += [reject(examples.key(i), f"{size[i]} tokens, {why}") for i in long]
        fits &= size <= most
    return examples.take(fits), rejected


def arranged(examples: Examples, input_steps: np.ndarray | None) -> tuple[Examples, np.ndarray]:
    """The rows ordered by key and form, and their leading target tokens that are input, int32 [stages, n].

    `input_steps`: c_i(t), int [stages, n] in the order of `examples`; None: no step is input.
    """
    order = np.lexsort((examples.forms, examples.tokens.keys.rank[examples.rows]))
    rows = examples.take(order)
    if input_steps is None:
        return rows, np.zeros((1, len(rows)), dtype=np.int32)
    return rows, rows.input_tokens(input_steps[:, order])
