"""Adaptive curriculum (Kong et al., 2021): the easiest rows first, by scores that follow the student."""

import copy
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from kpod.config import Acl, Distill
from kpod.distill.batches import target_logits
from kpod.distill.examples import Example
from kpod.distill.objectives.base import Objective, Step
from kpod.distill.passes import Micro, Passes, Unit
from kpod.errors import ModelError


def share(settings: Acl, epoch: int) -> float:
    """`min(1, p q^floor(t/r))`: the share of rows that epoch t trains on."""
    return float(min(1.0, settings.p * settings.q ** (epoch // settings.r)))


class Adaptive(Objective):
    """State: the score of every row, low is easy. Scores are losses of the student, before training at first."""

    def __init__(self, rows: Sequence[Example], given: np.ndarray, config: Distill) -> None:
        super().__init__(rows, given, config)
        self.settings = cast(Acl, config.objective)
        self.before: torch.nn.Module | None = None

    def start(self, passes: Passes) -> None:
        if self.settings.gamma and self.config.sharding:
            raise ModelError(
                "acl needs a whole copy of the student: set variants.acl.gamma to 0, or distill.sharding to false"
            )
        if self.settings.gamma:
            self.before = copy.deepcopy(passes.model).requires_grad_(False).eval()

    def first(self, passes: Passes) -> None:
        self.state = {"scores": self._losses(passes).tolist()}

    def count(self, epoch: int) -> int:
        return math.ceil(share(self.settings, epoch) * len(self.rows) - 1e-9)

    def units(self, epoch: int) -> list[Unit]:
        order = np.argsort(self.state["scores"], kind="stable")
        return [(int(row),) for row in np.sort(order[: self.count(epoch)])]

    def loss(self, logits: torch.Tensor, micro: Micro, weights: torch.Tensor, step: Step) -> torch.Tensor:
        loss = super().loss(logits, micro, weights, step)
        if self.before is None:
            return loss
        with torch.no_grad():
            before = target_logits(self.before, micro.batch)
        gamma = self.settings.gamma * self.settings.gamma_decay**step.epoch
        return loss + gamma * divergence(before, logits).sum() / step.tokens

    def after(self, epoch: int, passes: Passes) -> dict[str, float]:
        if epoch + 1 < self.config.epochs and self.count(epoch + 1) < len(self.rows):
            a = self.settings.a
            scores = (1 - a) * np.asarray(self.state["scores"]) + a * self._losses(passes)
            self.state = {"scores": scores.tolist()}
        return {"acl_share": share(self.settings, epoch)}

    def _losses(self, passes: Passes) -> np.ndarray:
        return passes.row_losses(range(len(self.rows)), self.given(0)).astype(np.float64)


def divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p, q) float32 [n] of the distributions behind two sets of logits [n, V]."""
    p, q = p.float().log_softmax(-1), q.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
