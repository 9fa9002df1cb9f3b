"""What the engine trains: the interface between the training loop and a student or a token weighter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from kpod import observe
from kpod.training.ranks import ranks


@dataclass
class Position:
    """Where a run stands; saved with each checkpoint."""

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

    name: str  # of what is trained, beside the progress bar
    unit: str  # of work: what the progress bar counts and metrics are charted by
    shown: ClassVar[Sequence[str]] = ("loss",)  # figures beside the bar
    fingerprint: str  # of everything that decides the result: a checkpoint of another run is not taken up
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer  # the groups' `initial_lr` is the peak rate
    state: dict[str, Any]  # JSON; saved with each checkpoint, and replaced by that of a restored one
    buffers: Mapping[str, torch.Tensor] = {}  # tensors that are saved too, and restored in place

    def initialize(self) -> None:
        """Called before the first step, and not when a run is resumed."""

    def expected(self) -> int:
        """Work of the whole run, in units."""
        raise NotImplementedError

    def finished(self, position: Position) -> bool:
        """Whether the budget is spent."""
        raise NotImplementedError

    def batches(self, epoch: int) -> Sequence[Any]:
        """The batch of each optimizer step of an epoch, in order: a function of the seed, the epoch and `state`."""
        raise NotImplementedError

    def work(self, batch: Any) -> int:
        """Units of work of a batch."""
        raise NotImplementedError

    def rate(self, position: Position, work: int, batches: int) -> float:
        """Learning rate of a step as a share of the peak; the step does `work`, the epoch has so many `batches`."""
        return 1.0

    def backward(self, batch: Any, position: Position) -> dict[str, float]:
        """Compute the gradients of a step, summed over the ranks and clipped; returns figures, `loss` among them."""
        raise NotImplementedError

    def after_step(self, position: Position, last_of_epoch: bool) -> None:
        """Called after each optimizer step."""

    def after_epoch(self, epoch: int, position: Position) -> None:
        """Called after each epoch, also one that the budget cut short; `position` is already the next epoch's."""

    def finish(self) -> None:
        """Called once after the last step."""

    def report(self, figures: Mapping[str, float], position: Position) -> None:
        """Report figures, charted by work: a curriculum trains on fewer tokens a step."""
        if figures and ranks().writes:
            observe.metrics(figures, position.done)
