"""Adaptive curriculum (Kong et al., 2021): the easiest rows first, by scores that follow the student."""

import copy
import math
from typing import cast

import numpy as np
import torch
from transformers import PreTrainedModel

from kpod.config import Distill
from kpod.config.methods import Acl
from kpod.errors import ModelError
from kpod.methods.base import Objective, Step
from kpod.training.examples import Examples
from kpod.training.loss import kl_divergence, weighted_nll
from kpod.training.passes import MicroBatch, Passes, Unit


def share(settings: Acl, epoch: int) -> float:
    """Share of rows that epoch t trains on: `min(1, p q^floor(t/r))`."""
    return float(min(1.0, settings.p * settings.q ** (epoch // settings.r)))


class Adaptive(Objective):
    """Trains on the easiest rows. State: a score for each row, s <- (1-a) s + a loss, at first the untrained loss."""

    def __init__(self, rows: Examples, schedule: np.ndarray, config: Distill) -> None:
        super().__init__(rows, schedule, config)
        self.settings = cast(Acl, config.objective)
        self.reference: PreTrainedModel | None = None  # the student before training

    def setup(self, passes: Passes) -> None:
        if self.settings.gamma and self.config.sharding:
            raise ModelError(
                "acl needs a whole copy of the student: set variants.acl.gamma to 0, or distill.sharding to false"
            )
        if self.settings.gamma:
            self.reference = copy.deepcopy(passes.model).requires_grad_(False).eval()

    def initialize(self, passes: Passes) -> None:
        self.state = {"scores": self._losses(passes).tolist()}

    def units(self, epoch: int) -> list[Unit]:
        rows = self.turns.rows(epoch)
        easiest = rows[np.argsort(np.asarray(self.state["scores"])[rows], kind="stable")]
        count = math.ceil(share(self.settings, epoch) * len(rows) - 1e-9)
        return [(int(row),) for row in np.sort(easiest[:count])]

    def loss(self, passes: Passes, micro: MicroBatch, weights: torch.Tensor, step: Step) -> torch.Tensor:
        if self.reference is None:
            return super().loss(passes, micro, weights, step)
        logits = passes.logits(micro.batch)
        loss = weighted_nll(logits, micro.batch.labels, weights, step.tokens)
        reference = passes.logits_no_grad(micro.batch, self.reference)
        gamma = self.settings.gamma * self.settings.gamma_decay**step.epoch
        return loss + gamma * kl_divergence(reference, logits).sum() / step.tokens

    def end_epoch(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        if not last and share(self.settings, epoch + 1) < 1:
            a = self.settings.a
            scores = (1 - a) * np.asarray(self.state["scores"]) + a * self._losses(passes)
            self.state = {"scores": scores.tolist()}
        return {"acl_share": share(self.settings, epoch)}

    def _losses(self, passes: Passes) -> np.ndarray:
        return passes.row_losses(np.arange(len(self.rows)), self.input_tokens(0)).astype(np.float64)
