"""Multi-CoT consistency (Chen et al., 2023): two rationales of a question, one distribution over its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import Field

from kpod.errors import DataError
from kpod.fields import MethodSettings
from kpod.methods.acl import divergence
from kpod.methods.base import Objective, Step, method

if TYPE_CHECKING:
    import torch

    from kpod.config import Distill, Pipeline
    from kpod.training.examples import Example
    from kpod.training.passes import Micro, Passes, Unit


class MccKd(MethodSettings):
    """Multi-CoT consistency (Chen et al., 2023): two rationales of a question must agree on the answer."""

    kind: Literal["mcc-kd"] = "mcc-kd"
    alpha: float = Field(0.1, ge=0, description="Weight of the symmetric KL divergence on the answer's tokens.")

    def check(self, config: Pipeline) -> None:
        if config.teacher.endpoint.kind != "import" and config.teacher.samples < 2:
            raise ValueError("methods: mcc-kd compares two rationales of a question, set teacher.samples to 2 or more")


@method(MccKd)
class Consistency(Objective):
    """A unit is two rationales of a question, drawn anew each epoch; a question that has only one trains that.

    So an epoch has twice the target tokens of the other methods': compare by target tokens.
    """

    width = 2

    def __init__(self, rows: Sequence[Example], given: np.ndarray, config: Distill) -> None:
        super().__init__(rows, given, config)
        self.alpha = cast(MccKd, config.objective).alpha
        self.questions: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            self.questions.setdefault(row.key[0], []).append(index)
        if all(len(found) == 1 for found in self.questions.values()):
            raise DataError("mcc-kd: no question has two kept rationales; raise teacher.samples")

    def units(self, epoch: int) -> list[Unit]:
        generator = np.random.default_rng([self.config.seed, epoch, 2])
        return [
            tuple(sorted(generator.choice(found, 2, replace=False).tolist())) if len(found) > 1 else (found[0],)
            for found in self.questions.values()
        ]

    def loss(self, passes: Passes, micro: Micro, weights: torch.Tensor, step: Step) -> torch.Tensor:
        from kpod.training.loss import weighted_nll

        logits = passes.logits(micro.batch)
        loss = weighted_nll(logits, micro.batch.labels, weights, step.tokens)
        questions = [self.rows[row].key[0] for row in micro.rows]
        batch = micro.batch
        disagreement = logits.new_zeros(())
        for second in range(1, len(questions)):
            if questions[second] == questions[second - 1]:
                p, q = (logits[(batch.row == row) & batch.answer] for row in (second - 1, second))
                disagreement = disagreement + (divergence(p, q) + divergence(q, p)).mean() / 2
        return loss + self.alpha * disagreement / step.units
