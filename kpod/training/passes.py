"""Forward passes of one rank: its micro-batches, logits at the trained positions, and the losses of single rows."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from kpod.config import Distill
from kpod.training import models
from kpod.training.batches import Batch, collate, decoder_start
from kpod.training.examples import Example
from kpod.training.head import TargetNll, target_logits
from kpod.training.ranks import Ranks

Unit = tuple[int, ...]  # indices of rows that are trained together, in one forward pass


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch; one that is not active only takes part in the collectives of the ranks."""

    batch: Batch
    rows: list[int]
    active: int  # 1, or 0 on a rank that has no rows left


class Passes:
    """`model` is the student, `wrapped` what is called instead of it so that gradients of several ranks meet."""

    def __init__(
        self,
        model: PreTrainedModel,
        wrapped: torch.nn.Module,
        rows: Sequence[Example],
        pad: int,
        config: Distill,
        ranks: Ranks,
    ) -> None:
        self.model, self.wrapped, self.rows, self.pad = model, wrapped, rows, pad
        self.config, self.ranks = config, ranks
        self.device = next(model.parameters()).device
        self.decoder_start = decoder_start(model)
        self._nll, self._nll_no_grad = TargetNll(wrapped), TargetNll(model)

    def micro_batches(self, units: Sequence[Unit], input_tokens: np.ndarray) -> Iterator[MicroBatch]:
        """This rank's part of `units`; `input_tokens` [rows] counts leading target tokens that are input.

        Every rank gets as many micro-batches, because sharded weights are gathered by all ranks together.
        """
        size = max(1, self.config.micro_batch // max(map(len, units)))
        count = -(-len(units) // (self.ranks.world * size))
        mine = units[self.ranks.rank :: self.ranks.world]
        for first in range(0, count * size, size):
            chosen = mine[first : first + size]
            rows = [row for unit in chosen or units[:1] for row in unit]
            skip = [int(input_tokens[row]) for row in rows]
            batch = collate([self.rows[row] for row in rows], skip, self.pad, self.decoder_start)
            yield MicroBatch(batch.to(self.device), rows, 1 if chosen else 0)

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits [n, V] at the trained positions, with their gradient."""
        return target_logits(self.wrapped, batch)

    def nll(self, batch: Batch) -> torch.Tensor:
        """-log P float32 [n] of the trained tokens, with its gradient, without whole logits."""
        return self._nll(batch)

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision as the settings ask for it."""
        return models.autocast(self.config.precision)

    def row_losses(self, chosen: Sequence[int], input_tokens: np.ndarray) -> np.ndarray:
        """Mean negative log-likelihood of the trained tokens of each row, without dropout; float32 [rows], 0 elsewhere.

        The ranks share the work; all of them get the whole result.
        """
        found = torch.zeros(len(self.rows), device=self.device)
        by_length = sorted(chosen, key=lambda row: self.rows[row].tokens)
        self.model.eval()
        with torch.no_grad(), self.autocast():
            for micro in self.micro_batches([(row,) for row in by_length], input_tokens):
                batch = micro.batch
                nll = self.nll_no_grad(batch)
                rows = torch.tensor(micro.rows, device=self.device)
                sizes = torch.bincount(batch.row, minlength=len(rows)).clamp(min=1)
                found.index_add_(0, rows[batch.row], micro.active * nll / sizes[batch.row])
        self.model.train()
        result: np.ndarray = self.ranks.total(found).cpu().numpy()
        return result

    def nll_no_grad(self, batch: Batch) -> torch.Tensor:
        """`nll` without a gradient or a wrapped model's bookkeeping."""
        with torch.no_grad():
            return self._nll_no_grad(batch)

    def logits_no_grad(self, batch: Batch, model: PreTrainedModel | None = None) -> torch.Tensor:
        """Logits [n, V] of the student, or of another `model`, without a gradient or a wrapped model's bookkeeping."""
        with torch.no_grad():
            return target_logits(model or self.model, batch)
