"""The interface of a method's objective: its examples, order and loss. The base class is Eq. 15."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.config import Distill
from kpod.text.formats import PromptFormat
from kpod.text.rationales import Rationale, read_rationales
from kpod.training.examples import Example, Examples, Key
from kpod.training.passes import MicroBatch, Passes, Unit
from kpod.training.turns import Turns


@dataclass(frozen=True)
class StudentData:
    """The data of the stage `distill`, from which a method makes its examples."""

    tokenizer: PreTrainedTokenizerBase
    examples: Examples  # of the usable kept rationales
    inputs: Mapping[str, Path]  # folders of `questions`, `rationales` and `steps`
    form: PromptFormat

    @cached_property
    def rationales(self) -> dict[Key, Rationale]:
        """The kept ones."""
        folders = (self.inputs[name] for name in ("questions", "rationales", "steps"))
        return {one.key: one for one in read_rationales(*folders)}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """All rows of schemas.RATIONALES, dropped ones included."""
        return schemas.read(self.inputs["rationales"] / "rationales.parquet", schemas.RATIONALES).to_pylist()

    @cached_property
    def questions(self) -> dict[str, dict[str, Any]]:
        """Rows of schemas.QUESTIONS by id."""
        table = schemas.read(self.inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
        return {row["id"]: row for row in table.to_pylist()}

    @cached_property
    def correct(self) -> list[Example]:
        """The examples whose rationale has the gold answer."""
        keys = {(row["question_id"], row["sample"]) for row in self.rows if row["correct"]}
        return [example for example in self.examples if example.key in keys]


@dataclass(frozen=True)
class Step:
    """An optimizer step, over all ranks and micro-batches."""

    epoch: int
    tokens: int  # target tokens
    units: int


class Objective:
    """Eq. 15: one rationale of each question an epoch, in turn, with token weights and the curriculum's input steps.

    `rows` are ordered by key. `schedule` int [stages, rows] is the number of leading target tokens that are input at
    each stage of the curriculum. An epoch is a stage; epochs after the last stage repeat it. Subclasses override what
    their method changes.
    """

    unit_size = 1  # rows of a unit, at most

    def __init__(self, rows: Examples, schedule: np.ndarray, config: Distill) -> None:
        self.rows, self.schedule, self.config = rows, schedule, config
        self.state: dict[str, Any] = {}  # JSON; saved with each checkpoint

    @classmethod
    def make_examples(cls, data: StudentData, config: Distill) -> Examples:
        """The examples to train on; those that turn out too long are left out by the stage."""
        return data.examples

    @cached_property
    def turns(self) -> Turns:
        """The rows of each epoch: one of each question and form."""
        forms = self.rows.forms
        return Turns(self.rows.questions * (1 + forms.max()) + forms)

    def setup(self, passes: Passes) -> None:
        """Called with the untrained student, before a checkpoint is restored. Raises ModelError if it does not fit."""

    def initialize(self, passes: Passes) -> None:
        """Called before the first step, and not when a run is resumed."""

    def units(self, epoch: int) -> list[Unit]:
        """The units (tuples of row numbers) that the epoch trains on; the task orders and batches them."""
        return [(int(row),) for row in self.turns.rows(epoch)]

    def input_tokens(self, epoch: int) -> np.ndarray:
        """Number of leading target tokens of each row that are input in this epoch, int [rows]."""
        return np.asarray(self.schedule[min(epoch, len(self.schedule) - 1)])

    def weights(self, passes: Passes, batches: Sequence[MicroBatch], step: Step) -> list[torch.Tensor]:
        """Weights of the n target tokens of each micro-batch, float [n]."""
        return [micro.batch.weights for micro in batches]

    def loss(self, passes: Passes, micro: MicroBatch, weights: torch.Tensor, step: Step) -> torch.Tensor:
        """This micro-batch's part of the step's loss, a scalar, by one forward pass; the parts add up."""
        return (weights * passes.nll(micro.batch)).sum() / step.tokens

    def end_epoch(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        """Called after each epoch; may change `state`. Returns metrics to report."""
        return {}
