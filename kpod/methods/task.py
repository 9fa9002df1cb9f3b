"""The engine's task that trains a student: batches of examples, gradients of an objective, validation."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod.config import Distill
from kpod.errors import ModelError
from kpod.methods.base import Objective, Step
from kpod.training.batches import epoch_batches
from kpod.training.checkpoint import Parameters
from kpod.training.optimizer import adamw, schedule
from kpod.training.passes import Passes, Unit
from kpod.training.ranks import no_sync, ranks
from kpod.training.sharding import blocks, full_tensor, gather, shard
from kpod.training.task import Position, Task

BACKEND = "inductor"  # of torch.compile


class Validator(Protocol):
    """Evaluates the student after each epoch and keeps the best weights; all ranks call it together."""

    def setup(self, folder: Path, passes: Passes) -> None:
        """Called before training; `folder` keeps the state of this run."""

    def evaluate(self, epoch: int, tokens: int, parameters: Parameters) -> dict[str, float]:
        """Evaluate after an epoch, at `tokens` target tokens; returns metrics to report."""
        ...

    def restore_best(self, parameters: Parameters) -> None:
        """Copy the best weights into `parameters`, after training."""


class StudentTask(Task):
    """Trains `model` by `objective`; a batch is a list of units, work is counted in target tokens."""

    unit = "token"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        objective: Objective,
        limit: int,
        fingerprint: str,
        validator: Validator | None,
        work: Path,
        name: str,
    ) -> None:
        """`limit`: target tokens of the budget, 0 if it counts epochs; `work`: folder for the state of validation."""
        self.name, self.fingerprint, self.limit = name, fingerprint, limit
        self.model, self.objective, self.validator = model, objective, validator
        self.config: Distill = objective.config
        self.ranks, self.targets = ranks(), objective.rows.targets
        self.sharded = self.config.sharding and self.ranks.world > 1
        live = shard(model, self.ranks, self.config.precision) if self.sharded else model
        wrapped = live if self.sharded else self.ranks.replicate(model)
        pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.passes = Passes(live, wrapped, objective.rows, pad, self.config, self.ranks)
        self.parameters = {name: value for name, value in live.named_parameters() if value.requires_grad}
        objective.setup(self.passes)
        if validator:
            validator.setup(work / f"validation-{fingerprint[:12]}", self.passes)
        self.compiled = blocks(live) if self.config.compile else []
        for block in self.compiled:
            block.compile(backend=BACKEND)
        self.optimizer = adamw(self.parameters, self.config)

    @property
    def state(self) -> dict[str, Any]:
        """The objective's state."""
        return self.objective.state

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self.objective.state = value

    def initialize(self) -> None:
        self.objective.initialize(self.passes)

    def expected(self) -> int:
        """Target tokens of the whole run; exact unless the objective selects rows."""
        if self.limit:
            return self.limit
        epochs = range(self.config.budget.epochs or 0)
        return sum(int(self._tokens(epoch)[self.objective.turns.rows(epoch)].sum()) for epoch in epochs)

    def finished(self, position: Position) -> bool:
        return position.done >= self.limit if self.limit else position.epoch >= (self.config.budget.epochs or 0)

    def batches(self, epoch: int) -> list[list[Unit]]:
        units = self.objective.units(epoch)
        sizes = self.objective.rows.sizes.tolist()
        lengths = np.array([sum(sizes[row] for row in unit) for unit in units])
        size = max(1, self.config.batch_size // self.objective.unit_size)
        self.input_tokens = self.objective.input_tokens(epoch)
        return [[units[i] for i in chosen] for chosen in epoch_batches(lengths, size, self.config.seed, epoch)]

    def work(self, batch: list[Unit]) -> int:
        rows = [row for unit in batch for row in unit]
        return int((self.targets[rows] - self.input_tokens[rows]).sum())

    def rate(self, position: Position, work: int, batches: int) -> float:
        epochs = position.epoch + position.batch / batches
        before, after = self._share(position.done, epochs), self._share(position.done + work, epochs + 1 / batches)
        return schedule(before, after, self.config)

    def backward(self, batch: list[Unit], position: Position) -> dict[str, float]:
        # Dropout masks follow from the step, so a resumed run draws the same ones.
        seeds = np.random.SeedSequence([self.config.seed, position.step, self.ranks.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        loss = self.ranks.total(self._gradients(batch, Step(position.epoch, self.work(batch), len(batch))))
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} at step {position.step}: lower distill.lr")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        return {"loss": loss.item(), "grad_norm": full_tensor(norm).item()}

    def after_epoch(self, epoch: int, position: Position) -> None:
        self.report(self.objective.end_epoch(epoch, self.passes, last=self.finished(position)), position)
        if self.validator:
            calls = self._uncompile()  # or each length would be compiled anew
            self.report(self.validator.evaluate(epoch, position.done, self.parameters), position)
            for block, call in zip(self.compiled, calls, strict=True):
                block._compiled_call_impl = call

    def finish(self) -> None:
        if self.validator:
            self.validator.restore_best(self.parameters)
        self._uncompile()
        if self.sharded:
            gather(self.passes.wrapped, self.model)

    def _gradients(self, batch: list[Unit], step: Step) -> torch.Tensor:
        """Add this rank's part of the gradients of the step's loss; returns its part of the loss."""
        loss = torch.zeros((), device=self.passes.device)
        batches = list(self.passes.micro_batches(batch, self.input_tokens))
        weights = self.objective.weights(self.passes, batches, step)
        for micro, weight in zip(batches, weights, strict=True):
            with nullcontext() if micro is batches[-1] else no_sync(self.passes.wrapped):
                with self.passes.autocast():
                    part = micro.active * self.objective.loss(self.passes, micro, weight, step)
                (part * self.ranks.world).backward()  # gradients are averaged over the ranks
            loss += part.detach()
        return loss

    def _tokens(self, epoch: int) -> np.ndarray:
        """Target tokens of each row that the epoch trains on, int [rows]."""
        return np.asarray(self.targets - self.objective.input_tokens(epoch))

    def _share(self, tokens: int, epochs: float) -> float:
        """The share of the budget that is spent after so many target tokens and epochs."""
        return min(1.0, tokens / self.limit if self.limit else epochs / (self.config.budget.epochs or 1))

    def _uncompile(self) -> list[Any]:
        calls = [block._compiled_call_impl for block in self.compiled]
        for block in self.compiled:
            block._compiled_call_impl = None
        return calls
