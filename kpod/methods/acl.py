"""Adaptive curriculum (Kong et al., 2021): the easiest rows first, by scores that follow the student."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import Field

from kpod.errors import ModelError
from kpod.fields import Fraction, MethodSettings
from kpod.methods.base import Objective, Step, method

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from kpod.config import Distill
    from kpod.training.examples import Example
    from kpod.training.passes import Micro, Passes, Unit


class Acl(MethodSettings):
    """Adaptive curriculum (Kong et al., 2021): the easiest rationales first, judged anew after each epoch."""

    kind: Literal["acl"] = "acl"
    p: float = Field(0.3, gt=0, le=1, description="Share of the rationales that the first epoch trains on.")
    q: float = Field(1.5, gt=1, description="The share grows by this factor ...")
    r: int = Field(1, ge=1, description="... every so many epochs.")
    a: Fraction = Field(0.5, description="Part of the current loss in the new score: s <- (1-a) s + a loss.")
    gamma: float = Field(0.1, ge=0, description="Weight of KL(student before training, student).")
    gamma_decay: Fraction = Field(0.5, description="The weight is multiplied by this after each epoch.")


def share(settings: Acl, epoch: int) -> float:
    """`min(1, p q^floor(t/r))`: the share of rows that epoch t trains on."""
    return float(min(1.0, settings.p * settings.q ** (epoch // settings.r)))


@method(Acl)
class Adaptive(Objective):
    """State: the score of every row, low is easy. Scores are losses of the student, before training at first."""

    def __init__(self, rows: Sequence[Example], given: np.ndarray, config: Distill) -> None:
        super().__init__(rows, given, config)
        self.settings = cast(Acl, config.objective)
        self.before: PreTrainedModel | None = None

    def start(self, passes: Passes) -> None:
        if self.settings.gamma and self.config.sharding:
            raise ModelError(
                "acl needs a whole copy of the student: set variants.acl.gamma to 0, or distill.sharding to false"
            )
        if self.settings.gamma:
            self.before = copy.deepcopy(passes.model).requires_grad_(False).eval()
            self.quietly = passes.quietly

    def first(self, passes: Passes) -> None:
        self.state = {"scores": self._losses(passes).tolist()}

    def units(self, epoch: int) -> list[Unit]:
        rows = self.turns.rows(epoch)
        easiest = rows[np.argsort(np.asarray(self.state["scores"])[rows], kind="stable")]
        count = math.ceil(share(self.settings, epoch) * len(rows) - 1e-9)
        return [(int(row),) for row in np.sort(easiest[:count])]

    def loss(self, passes: Passes, micro: Micro, weights: torch.Tensor, step: Step) -> torch.Tensor:
        from kpod.training.loss import weighted_nll

        if self.before is None:
            return super().loss(passes, micro, weights, step)
        logits = passes.logits(micro.batch)
        loss = weighted_nll(logits, micro.batch.labels, weights, step.tokens)
        before = self.quietly(micro.batch, self.before)
        gamma = self.settings.gamma * self.settings.gamma_decay**step.epoch
        return loss + gamma * divergence(before, logits).sum() / step.tokens

    def after(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        if not last and share(self.settings, epoch + 1) < 1:
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
