"""The training loop: epochs until the budget is spent, and a killed run goes on to the same last bit."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod import observe
from kpod.config import Distill, Lora
from kpod.errors import ConfigError, DataError, ModelError
from kpod.methods import Objective, Step, objective_of
from kpod.store.keys import identity
from kpod.training import checkpoint
from kpod.training.adapter import trainable
from kpod.training.batches import epoch_batches
from kpod.training.checkpoint import Position
from kpod.training.examples import Example, Key
from kpod.training.optimizer import adamw, learning_rate
from kpod.training.passes import Passes, Unit
from kpod.training.ranks import no_sync, ranks
from kpod.training.sharding import blocks, full_tensor, gather, is_sharded, shard
from kpod.training.turns import Turns, allowed

BACKEND = "inductor"  # of torch.compile
# c_i(t): leading steps that are input at each stage, as many stages for every key
InputSteps = Mapping[Key, Sequence[int] | np.ndarray]


class Validator(Protocol):
    """Evaluates the student after each epoch and keeps the best weights; all ranks call it together."""

    def setup(self, folder: Path, passes: Passes) -> None: ...

    def evaluate(self, epoch: int, tokens: int, parameters: checkpoint.Parameters) -> dict[str, float]: ...

    def restore_best(self, parameters: checkpoint.Parameters) -> None: ...


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: Distill,
    input_steps: InputSteps | None,
    work: Path,
    validator: Validator | None = None,
    target_tokens: int | None = None,
) -> Position:
    """Train `model` in place; returns where it ended, with a row of history a step.

    Its weights are fp32 (see `models.load`); under LoRA those of a run in bf16 may be bf16.
    Epochs follow each other until `config.budget` is spent, the last one is cut short. One that counts the tokens of
    plain distillation allows `target_tokens`, by default those of `examples`. Without `input_steps` every rationale
    is generated whole; an epoch behind their last stage is like it.

    The loss of a step is that of `config.objective`, by default Eq. 15, over the target tokens of its
    `config.batch_size` examples, so neither `micro_batch` nor padding changes it. The order of rows depends on
    `(seed, epoch)` alone, not on the order of `examples`. Checkpoints go to `work`; called again after a kill with
    the same arguments, training goes on from the last one. An adapter that is to be kept, or whose
    base is quantised, is left in `work/adapter`.
    With a `validator` the model ends with the weights of the epoch that it chose, else with the last.
    Raises DataError without examples, ModelError for a model that cannot be trained or whose loss is not finite.
    """
    if not examples:
        raise DataError("there is no example to train on: see the counts of the stages before")
    rows = sorted(examples, key=lambda row: (row.key, row.form))
    if input_steps is None:
        input_tokens = np.zeros((1, len(rows)), dtype=np.int64)
    else:
        input_tokens = np.array([np.searchsorted(row.step, input_steps[row.key], side="left") for row in rows]).T
    if target_tokens is None:
        lengths = np.array([len(row.target) for row in rows])
        target_tokens = allowed(config.budget, lengths, Turns([row.key[0] for row in rows]))
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # LoRA's start
        fingerprint = _fingerprint(model, rows, input_tokens, target_tokens, config)
        objective = objective_of(config)(rows, input_tokens, config)
        adapter = config.adapter
        keeps = isinstance(adapter, Lora) and bool(adapter.keep or adapter.quantize) and ranks().writes
        with trainable(model, config, work / "adapter" if keeps else None):
            run = _Run(model, tokenizer, rows, objective, config, work, fingerprint, validator, target_tokens)
            return run.run()


class _Run:
    """One training run and its position."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: list[Example],
        objective: Objective,
        config: Distill,
        work: Path,
        fingerprint: str,
        validator: Validator | None,
        limit: int,
    ) -> None:
        self.limit = limit  # target tokens; 0: the budget counts epochs
        self.rows, self.config, self.objective, self.validator = rows, config, objective, validator
        self.model, self.work, self.fingerprint = model, work, fingerprint
        pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.targets = np.array([len(row.target) for row in rows])
        self.ranks = ranks()
        sharded = config.sharding and self.ranks.world > 1
        live = shard(model, self.ranks) if sharded else model
        wrapped = live if sharded else self.ranks.replicate(model)
        self.parameters = {name: value for name, value in live.named_parameters() if value.requires_grad}
        self.passes = Passes(live, wrapped, rows, pad, config, self.ranks)
        objective.setup(self.passes)
        if validator:
            if sharded:
                raise ConfigError("distill.validation: a student that is split over processes cannot be asked")
            validator.setup(work / f"validation-{fingerprint[:12]}", self.passes)
        self.compiled = blocks(live) if config.compile else []
        for block in self.compiled:
            block.compile(backend=BACKEND)
        self.optimizer = adamw(self.parameters, config)
        found = checkpoint.restore(work, fingerprint, self.parameters, self.optimizer)
        self.position = found or Position()
        if found:
            objective.state = found.objective
        else:
            objective.initialize(self.passes)
        self.size = max(1, config.batch_size // objective.unit_size)
        self.started = time.monotonic(), time.process_time()
        self.saved = time.monotonic()
        self.saving = config.checkpoint_seconds  # what the last checkpoint took; before the first, as long as can be

    def run(self) -> Position:
        position = self.position
        with observe.progress("distill", self.expected(), unit="token", initial=position.tokens) as bar:
            while not self.finished():
                self.run_epoch(bar)
        if self.validator:
            self.validator.restore_best(self.parameters)
        for block in self.compiled:
            block._compiled_call_impl = None
        if is_sharded(self.passes.wrapped):
            gather(self.passes.wrapped, self.model)
        self.clock()
        return position

    def run_epoch(self, bar: observe.Progress) -> None:
        """Train on what is left of an epoch, or of the budget."""
        position, epoch = self.position, self.position.epoch
        input_tokens, batches = self.objective.input_tokens(epoch), self.batches(epoch)
        ended = False
        while not ended:
            tokens = self.step(batches[position.batch], input_tokens, len(batches))
            position.batch += 1
            ended = position.batch == len(batches) or self.finished()
            if ended:
                position.epoch, position.batch = epoch + 1, 0
            bar.advance(tokens, epoch=epoch, loss=f"{position.history[-1]['loss']:.4f}")
            if ended:
                self.report(self.objective.end_epoch(epoch, self.passes, last=self.finished()))
                self.validate(epoch)
            self.maybe_save(ended)

    def finished(self) -> bool:
        """Whether the budget is spent."""
        position = self.position
        return position.tokens >= self.limit if self.limit else position.epoch >= (self.config.budget.epochs or 0)

    def share(self, tokens: int, epochs: float) -> float:
        """The share of the budget that is spent after so many target tokens and epochs."""
        return min(1.0, tokens / self.limit if self.limit else epochs / (self.config.budget.epochs or 1))

    def expected(self) -> int:
        """Target tokens of the whole run, for the progress bar; exact unless an objective chooses its rows itself."""
        epochs = range(0 if self.limit else self.config.budget.epochs or 0)
        turns = [(epoch, self.objective.turns.rows(epoch)) for epoch in epochs]
        planned = sum(int((self.targets - self.objective.input_tokens(epoch))[rows].sum()) for epoch, rows in turns)
        return self.limit or planned

    def batches(self, epoch: int) -> list[list[Unit]]:
        """The units of each optimizer step of the epoch, in order."""
        units = self.objective.units(epoch)
        lengths = np.array([sum(self.rows[row].tokens for row in unit) for unit in units])
        order = epoch_batches(lengths, self.size, self.config.seed, epoch)
        return [[units[i] for i in chosen] for chosen in order]

    def step(self, chosen: list[Unit], input_tokens: np.ndarray, batches: int) -> int:
        """One optimizer step over the units `chosen`, one of the epoch's `batches`; returns its target tokens."""
        position = self.position
        rows = [row for unit in chosen for row in unit]
        tokens = int((self.targets[rows] - input_tokens[rows]).sum())
        epochs = position.epoch + position.batch / batches
        before, after = (
            self.share(position.tokens, epochs), self.share(position.tokens + tokens, epochs + 1 / batches)
        )  # fmt: skip
        rate = learning_rate(before, after, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout masks follow from the step, so a resumed run draws the same ones.
        seeds = np.random.SeedSequence([self.config.seed, position.step, self.ranks.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        loss = self.ranks.total(self.gradients(chosen, input_tokens, Step(position.epoch, tokens, len(chosen))))
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} at step {position.step}: lower distill.lr")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        position.step += 1
        position.tokens += tokens
        figures = {"loss": loss.item(), "lr": rate, "tokens": position.tokens}
        position.history.append({"epoch": position.epoch, "step": position.step, **figures, "difficulty": None})
        self.report({**figures, "epoch": position.epoch, "grad_norm": full_tensor(norm).item()})
        return tokens

    def gradients(self, chosen: list[Unit], input_tokens: np.ndarray, step: Step) -> torch.Tensor:
        """Add this rank's part of the gradients of the step's loss; returns its part of the loss."""
        loss = torch.zeros((), device=self.passes.device)
        batches = list(self.passes.micro_batches(chosen, input_tokens))
        weights = self.objective.weights(self.passes, batches, step)
        for micro, weight in zip(batches, weights, strict=True):
            with nullcontext() if micro is batches[-1] else no_sync(self.passes.wrapped):
                with self.passes.autocast():
                    part = micro.active * self.objective.loss(self.passes, micro, weight, step)
                (part * self.ranks.world).backward()  # gradients are averaged over the ranks
            loss += part.detach()
        return loss

    def report(self, figures: dict[str, float]) -> None:
        if self.ranks.writes and figures:  # charted by target tokens: a curriculum trains on fewer of them a step
            observe.metrics(figures, self.position.tokens)

    def validate(self, epoch: int) -> None:
        """Let the student answer validation questions, uncompiled: each length would be compiled anew."""
        if self.validator is None:
            return
        compiled = [block._compiled_call_impl for block in self.compiled]
        for block in self.compiled:
            block._compiled_call_impl = None
        self.report(self.validator.evaluate(epoch, self.position.tokens, self.parameters))
        for block, call in zip(self.compiled, compiled, strict=True):
            block._compiled_call_impl = call

    def maybe_save(self, last_of_epoch: bool) -> None:
        worked = time.monotonic() - self.saved
        # At the end of an epoch too, where a checkpoint costs little beside the work since the last one.
        due = worked >= self.config.checkpoint_seconds or (last_of_epoch and worked >= 20 * self.saving)
        if self.ranks.first(due):
            started = time.monotonic()
            position = self.position
            position.objective = self.objective.state
            self.clock()
            writes = self.ranks.writes
            checkpoint.save(self.work, self.fingerprint, position, self.parameters, self.optimizer, writes)
            self.saved = time.monotonic()
            self.saving = self.saved - started

    def clock(self) -> None:
        """Add the seconds since the last call; CPU seconds of all ranks, who call this together."""
        wall, cpu = time.monotonic(), time.process_time()
        spent = torch.tensor(cpu - self.started[1], device=self.passes.device)
        self.position.cpu_seconds += float(self.ranks.total(spent))
        self.position.wall_seconds += wall - self.started[0]
        self.started = wall, cpu


def _fingerprint(
    model: PreTrainedModel, rows: list[Example], input_tokens: np.ndarray, limit: int, config: Distill
) -> str:
    """Names a run by what its result depends on: settings, data, curriculum and the model it starts from."""
    digest = hashlib.sha256(json.dumps([identity(config), limit], sort_keys=True).encode())
    digest.update(input_tokens.astype(np.int64).tobytes())
    for row in rows:
        digest.update(repr((row.key, row.form)).encode())
        for array in (row.prompt, row.target, row.weight, row.step):
            digest.update(array.tobytes())
    for value in model.parameters():
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
