"""The interface between the training loop and the model that it trains (a student or the token weighter)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from kpod import observe
from kpod.training.ranks import ranks


@dataclass
class Position:
    """The progress of a run; saved with each checkpoint."""

    step: int = 0  # optimizer steps
    epoch: int = 0
    batch: int = 0  # of the epoch's batches
    done: int = 0  # work, in the task's unit
    cpu_seconds: float = 0.0  # of all processes, in all attempts
    wall_seconds: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)  # the task's own, JSON
    history: list[dict[str, Any]] = field(default_factory=list)  # rows of schemas.HISTORY, one a step


class Task:
    """One model in training. The engine calls the methods, on all ranks together.

    Subclasses set the attributes in their constructor, before the engine restores a checkpoint into them.
    """

    name: str  # label of the progress bar
    unit: str  # unit of work: of the progress bar, and of the steps of metrics
    shown: ClassVar[Sequence[str]] = ("loss",)  # metrics beside the bar
    fingerprint: str  # of everything that decides the result; checkpoints with another one are ignored
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer  # the groups' `initial_lr` is the peak rate
    state: dict[str, Any]  # JSON; saved with each checkpoint, and replaced by that of a restored one
    buffers: Mapping[str, torch.Tensor] = {}  # tensors that are saved too, and restored in place

    def initialize(self) -> None:
        """Called before the first step, and not when a run is resumed."""

    def expected(self) -> int:
        """Work of the whole run, in `unit`s."""
        raise NotImplementedError

    def finished(self, position: Position) -> bool:
        """Whether the budget is spent."""
        raise NotImplementedError

    def batches(self, epoch: int) -> Sequence[Any]:
        """The batch of each optimizer step of an epoch, in order; a function of seed, epoch and `state`."""
        raise NotImplementedError

    def work(self, batch: Any) -> int:
        """Work of a batch, in `unit`s."""
        raise NotImplementedError

    def rate(self, position: Position, work: int, batches: int) -> float:
        """Learning rate of a step with this `work` as a share of the peak, in an epoch of `batches` batches."""
        return 1.0

    def backward(self, batch: Any, position: Position) -> dict[str, float]:
        """Compute the gradients of a step, reduced over the ranks and clipped; returns metrics, with `loss`."""
        raise NotImplementedError

    def after_step(self, position: Position, last_of_epoch: bool) -> None:
        """Called after each optimizer step."""

    def after_epoch(self, epoch: int, position: Position) -> None:
        """Called after each epoch, complete or not; `position` is already at the next epoch."""

    def finish(self) -> None:
        """Called once after the last step."""

    def report(self, figures: Mapping[str, float], position: Position) -> None:
        """Report metrics with the work done as their step, because steps of a curriculum differ in tokens."""
        if figures and ranks().writes:
            observe.metrics(figures, position.done)
