"""The training loop: one epoch is one stage of the curriculum, and a killed run goes on to the same last bit."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod import models, observe
from kpod.config import Distill
from kpod.distill import checkpoint
from kpod.distill.adapter import trainable
from kpod.distill.batches import check_packing, collate, decoder_start, epoch_batches, target_logits
from kpod.distill.examples import Example, Key
from kpod.distill.loss import weighted_nll
from kpod.distill.optimizer import adamw, learning_rate
from kpod.distill.ranks import ranks
from kpod.errors import DataError, ModelError
from kpod.identity import identity

InputSteps = Callable[[int, Key], int]  # (epoch, key) -> number of leading steps that are input, c_i(t)


def nothing_given(_epoch: int, _key: Key) -> int:
    """The whole rationale is generated in every epoch."""
    return 0


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: Distill,
    input_steps_of: InputSteps,
    work: Path,
) -> list[dict[str, Any]]:
    """Train `model` (fp32 weights, see `models.load`) in place; returns rows of `schemas.HISTORY`, one a step.

    The loss of a step is Eq. 15 over the target tokens of its `config.batch_size` examples, so neither
    `micro_batch` nor padding changes it. The order of rows depends on `(seed, epoch)` alone, not on the order of
    `examples`. Checkpoints go to `work`; called again after a kill with the same arguments, training goes on
    from the last one. Raises DataError without examples, ModelError for a model that cannot be trained or whose
    loss is no longer finite.
    """
    if not examples:
        raise DataError("there is no example to train on: see the counts of the stages before")
    rows = sorted(examples, key=lambda row: row.key)
    given = np.array([[row.given(input_steps_of(epoch, row.key)) for row in rows] for epoch in range(config.epochs)])
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # LoRA's start
        fingerprint = _fingerprint(model, rows, given, config)
        with trainable(model, config) as parameters:
            run = _Run(model, tokenizer, rows, given, config, parameters, work, fingerprint)
            return run.to_the_end()


class _Run:
    """One training run and its position."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: list[Example],
        given: np.ndarray,
        config: Distill,
        parameters: dict[str, torch.nn.Parameter],
        work: Path,
        fingerprint: str,
    ) -> None:
        self.model, self.rows, self.given, self.config = model, rows, given, config
        self.parameters, self.work, self.fingerprint = parameters, work, fingerprint
        self.device = next(model.parameters()).device
        self.pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.start = decoder_start(model)
        self.lengths = np.array([row.tokens for row in rows])
        self.targets = np.array([len(row.target) for row in rows])
        self.optimizer = adamw(parameters, config)
        found = checkpoint.restore(work, fingerprint, parameters, self.optimizer)
        self.position = found or checkpoint.Position()
        self.ranks = ranks()
        if config.packing:
            check_packing(model, rows, self.pad, self.start)
        self.wrapped = self.ranks.wrap(model)
        self.saved = time.monotonic()
        self.saving = config.checkpoint_seconds  # what the last checkpoint took; before the first, as long as can be

    def to_the_end(self) -> list[dict[str, Any]]:
        a_pass = -(-len(self.rows) // self.config.batch_size)
        total = int(self.targets.sum()) * self.config.epochs - int(self.given.sum())
        with observe.progress("distill", total, unit="tok", initial=self.position.tokens) as bar:
            for epoch in range(self.position.step // a_pass, self.config.epochs):
                batches = epoch_batches(self.lengths, self.config.batch_size, self.config.seed, epoch)
                for number in range(self.position.step - epoch * a_pass, a_pass):
                    before = self.position.tokens
                    self.step(epoch, batches[number], a_pass * self.config.epochs)
                    loss = self.position.history[-1]["loss"]
                    bar.advance(self.position.tokens - before, epoch=epoch, loss=f"{loss:.4f}")
                    self.maybe_save(last_of_epoch=number == a_pass - 1)
        return self.position.history

    def step(self, epoch: int, chosen: np.ndarray, steps: int) -> None:
        """One optimizer step over the rows `chosen`."""
        position, given = self.position, self.given[epoch]
        rate = learning_rate(position.step, steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout masks follow from the step, so a resumed run draws the same ones.
        seeds = np.random.SeedSequence([self.config.seed, position.step, self.ranks.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        tokens = int((self.targets[chosen] - given[chosen]).sum())
        loss = self.ranks.total(self.gradients(chosen, given, tokens))
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} at step {position.step}: lower distill.lr")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        position.step += 1
        position.tokens += tokens
        figures = {"loss": loss.item(), "lr": rate, "tokens": position.tokens}
        position.history.append({"epoch": epoch, "step": position.step, **figures, "difficulty": None})
        if self.ranks.writes:
            observe.metrics({**figures, "epoch": epoch, "grad_norm": norm.item()}, position.step)

    def gradients(self, chosen: np.ndarray, given: np.ndarray, tokens: int) -> torch.Tensor:
        """Add this rank's part of the gradients of Eq. 15 over `tokens` target tokens; returns its part of the loss."""
        mine = self.ranks.share(chosen)
        # A rank without rows takes part in the exchange of gradients with one that counts nothing.
        counts = 1 if len(mine) else 0
        mine = mine if len(mine) else chosen[:1]
        loss = torch.zeros((), device=self.device)
        for first in range(0, len(mine), self.config.micro_batch):
            micro = mine[first : first + self.config.micro_batch]
            rows, skip = [self.rows[i] for i in micro], [int(given[i]) for i in micro]
            batch = collate(rows, skip, self.pad, self.start, self.config.packing).to(self.device)
            last = first + self.config.micro_batch >= len(mine)
            with nullcontext() if last else self.ranks.apart(self.wrapped):
                with models.autocast(self.config.precision):
                    logits = target_logits(self.wrapped, batch)
                    part = weighted_nll(logits, batch.labels, counts * batch.weights, tokens)
                (part * self.ranks.world).backward()  # gradients are averaged over the ranks
            loss += part.detach()
        return loss

    def maybe_save(self, last_of_epoch: bool) -> None:
        if not self.ranks.writes:
            return
        worked = time.monotonic() - self.saved
        # At the end of an epoch too, where a checkpoint costs little beside the work since the last one.
        if worked >= self.config.checkpoint_seconds or (last_of_epoch and worked >= 20 * self.saving):
            started = time.monotonic()
            checkpoint.save(self.work, self.fingerprint, self.position, self.parameters, self.optimizer)
            self.saved = time.monotonic()
            self.saving = self.saved - started


def _fingerprint(model: PreTrainedModel, rows: list[Example], given: np.ndarray, config: Distill) -> str:
    """Names a run by what its result depends on: settings, data, curriculum and the model it starts from."""
    digest = hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode())
    digest.update(given.astype(np.int64).tobytes())
    for row in rows:
        digest.update(repr(row.key).encode())
        for array in (row.prompt, row.target, row.weight):
            digest.update(array.tobytes())
    for value in model.parameters():
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
