"""What one method trains on and by which loss; the trainer asks, the methods override what they change.

The files of this package hold settings too, which the command line reads: torch, transformers and pyarrow are imported
where they are used, or for types alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from kpod.fields import MethodSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from kpod.config import Distill
    from kpod.text.formats import PromptFormat
    from kpod.text.tokens import Rationale
    from kpod.training.examples import Example, Key
    from kpod.training.passes import Micro, Passes, Unit
    from kpod.training.turns import Turns


class Eq15(MethodSettings):
    """Eq. 15, with the weights and the curriculum that `token_weights` and `progressive` ask for."""

    kind: Literal["eq15"] = "eq15"


@dataclass(frozen=True)
class Told:
    """What the stage has read: one example each of the usable kept rationales; whole tables for those who ask."""

    tokenizer: PreTrainedTokenizerBase
    examples: list[Example]
    rationales: dict[Key, Rationale]  # the kept ones
    inputs: Mapping[str, Path]  # folders of `rationales` and `questions`
    form: PromptFormat

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of schemas.RATIONALES, dropped ones included."""
        from kpod import schemas

        return schemas.read(self.inputs["rationales"] / "rationales.parquet", schemas.RATIONALES).to_pylist()

    @cached_property
    def questions(self) -> dict[str, dict[str, Any]]:
        """Id -> row of schemas.QUESTIONS."""
        from kpod import schemas

        table = schemas.read(self.inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
        return {row["id"]: row for row in table.to_pylist()}

    @cached_property
    def right(self) -> list[Example]:
        """The examples whose rationale came to the gold answer."""
        correct = {(row["question_id"], row["sample"]) for row in self.rows if row["correct"]}
        return [example for example in self.examples if example.key in correct]


@dataclass(frozen=True)
class Step:
    """An optimizer step as a whole, over all ranks and micro-batches."""

    epoch: int
    tokens: int  # target tokens
    units: int


class Objective:
    """Eq. 15: one rationale of each question an epoch, in turn, with the weights and given steps that it came with.

    `rows` are ordered by key; `given` int [stages, rows] counts the target tokens that are input at each stage of the
    curriculum. An epoch is a stage; epochs behind the last stage are like it.
    """

    width = 1  # rows of a unit, at most

    def __init__(self, rows: Sequence[Example], given: np.ndarray, config: Distill) -> None:
        self.rows, self.config = rows, config
        self.planned = given
        self.state: dict[str, Any] = {}  # what a checkpoint must hold besides the weights; JSON

    @classmethod
    def records(cls, told: Told, config: Distill) -> tuple[list[Example], list[dict[str, str]]]:
        """The rows to train on, made of what the stage has read, and the rows of `schemas.QUARANTINE` beside them."""
        return told.examples, []

    @cached_property
    def turns(self) -> Turns:
        """The rows of each epoch: one of each question and form."""
        from kpod.training.turns import Turns

        return Turns([(row.key[0], row.form) for row in self.rows])

    def start(self, passes: Passes) -> None:
        """Called with the student before training, whether or not a checkpoint is taken up behind it."""

    def first(self, passes: Passes) -> None:
        """Called when training begins at its first step, not when it is resumed."""

    def units(self, epoch: int) -> list[Unit]:
        """What the epoch trains on; the trainer orders and batches it."""
        return [(int(row),) for row in self.turns.rows(epoch)]

    def given(self, epoch: int) -> np.ndarray:
        """Number of leading target tokens of each row that are input, int [rows]."""
        return np.asarray(self.planned[min(epoch, len(self.planned) - 1)])

    def weights(self, passes: Passes, micros: Sequence[Micro], step: Step) -> list[torch.Tensor]:
        """Weights float [n] of the target tokens of each micro-batch."""
        return [micro.batch.weights for micro in micros]

    def loss(self, passes: Passes, micro: Micro, weights: torch.Tensor, step: Step) -> torch.Tensor:
        """This micro-batch's part of the step's loss, by one forward pass: the parts add up."""
        return (weights * passes.nll(micro.batch)).sum() / step.tokens

    def after(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        """Called behind an epoch, `last` or not; may change `state`. Returns figures to report."""
        return {}


SETTINGS: dict[str, type[MethodSettings]] = {"eq15": Eq15}
OBJECTIVES: dict[str, type[Objective]] = {"eq15": Objective}
Made = TypeVar("Made", bound=type[Objective])


def method(settings: type[MethodSettings]) -> Callable[[Made], Made]:
    """Class decorator: the method that `settings` are of trains by this objective."""

    def register(objective: Made) -> Made:
        kind = settings.model_fields["kind"].default
        SETTINGS[kind], OBJECTIVES[kind] = settings, objective
        return objective

    return register
