"""Forward passes of one rank: micro-batches, logits and losses at the trained positions, mean losses of rows."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from kpod.config import Distill
from kpod.training import models
from kpod.training.batches import Batch, collate, decoder_start
from kpod.training.examples import Examples
from kpod.training.head import TargetNll, target_logits
from kpod.training.ranks import Ranks

Unit = tuple[int, ...]  # row numbers that are trained in the same forward pass


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch; an inactive one only takes part in the collectives of the ranks."""

    batch: Batch
    rows: list[int]
    active: int  # 1, or 0 on a rank that has no rows left


class Passes:
    """Forward passes of the student `model`; `wrapped` (DDP, FSDP or `model`) is called where gradients are needed."""

    def __init__(
        self,
        model: PreTrainedModel,
        wrapped: torch.nn.Module,
        rows: Examples,
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
        """This rank's part of `units`; `input_tokens` int [rows]: number of leading target tokens that are input.

        Every rank has the same number of micro-batches, because sharded weights are gathered by all ranks together.
        """
        size = max(1, self.config.micro_batch // max(map(len, units)))
        count = -(-len(units) // (self.ranks.world * size))
        own = units[self.ranks.rank :: self.ranks.world]
        for first in range(0, count * size, size):
            chosen = own[first : first + size]
            rows = [row for unit in chosen or units[:1] for row in unit]
            skip = [int(input_tokens[row]) for row in rows]
            batch = collate([self.rows[row] for row in rows], skip, self.pad, self.decoder_start)
            yield MicroBatch(batch.to(self.device), rows, 1 if chosen else 0)

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits [n, V] at the trained positions, with gradient."""
        return target_logits(self.wrapped, batch)

    def nll(self, batch: Batch) -> torch.Tensor:
        """-log P of the trained tokens, float32 [n], with gradient, without storing all logits."""
        return self._nll(batch)

    def autocast(self) -> AbstractContextManager[None]:
        """Autocast in the precision of the settings."""
        return models.autocast(self.config.precision)

    def row_losses(self, chosen: np.ndarray, input_tokens: np.ndarray) -> np.ndarray:
        """Mean -log P of the trained tokens of the rows `chosen`, without dropout, float32 [rows]; 0 for other rows.

        The work is split over the ranks; every rank returns all losses.
        """
        losses = torch.zeros(len(self.rows), device=self.device)
        by_length = chosen[np.argsort(self.rows.sizes[chosen], kind="stable")].tolist()
        self.model.eval()
        with torch.no_grad(), self.autocast():
            for micro in self.micro_batches([(row,) for row in by_length], input_tokens):
                batch = micro.batch
                nll = self.nll_no_grad(batch)
                rows = torch.tensor(micro.rows, device=self.device)
                sizes = torch.bincount(batch.row, minlength=len(rows)).clamp(min=1)
                losses.index_add_(0, rows[batch.row], micro.active * nll / sizes[batch.row])
        self.model.train()
        result: np.ndarray = self.ranks.total(losses).cpu().numpy()
        return result

    def nll_no_grad(self, batch: Batch) -> torch.Tensor:
        """As `nll`, without gradient and without the wrapper."""
        with torch.no_grad():
            return self._nll_no_grad(batch)

    def logits_no_grad(self, batch: Batch, model: PreTrainedModel | None = None) -> torch.Tensor:
        """Logits [n, V] of the student, or of another `model`, without gradient and without the wrapper."""
        with torch.no_grad():
            return target_logits(model or self.model, batch)
