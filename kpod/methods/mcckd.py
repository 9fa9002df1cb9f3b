"""Multi-CoT consistency (Chen et al., 2023): two rationales of a question, one distribution over its answer."""

from typing import cast

import numpy as np
import torch

from kpod.config import Distill
from kpod.config.methods import MccKd
from kpod.errors import DataError
from kpod.methods.base import Objective, Step
from kpod.training.examples import Examples
from kpod.training.loss import kl_divergence, weighted_nll
from kpod.training.passes import MicroBatch, Passes, Unit


class Consistency(Objective):
    """Eq. 1 plus the symmetric KL divergence of two rationales on their answer.

    A unit is two rationales of a question, drawn in each epoch, or the only one. So an epoch has twice the target
    tokens of the other methods.
    """

    unit_size = 2

    def __init__(self, rows: Examples, schedule: np.ndarray, config: Distill) -> None:
        super().__init__(rows, schedule, config)
        self.alpha = cast(MccKd, config.objective).alpha
        self.questions: dict[int, list[int]] = {}
        for index, question in enumerate(rows.questions.tolist()):
            self.questions.setdefault(question, []).append(index)
        if all(len(rows_of) == 1 for rows_of in self.questions.values()):
            raise DataError("mcc-kd: no question has two kept rationales; raise teacher.samples")

    def units(self, epoch: int) -> list[Unit]:
        generator = np.random.default_rng([self.config.seed, epoch, 2])
        return [
            tuple(sorted(generator.choice(rows_of, 2, replace=False).tolist())) if len(rows_of) > 1 else (rows_of[0],)
            for rows_of in self.questions.values()
        ]

    def loss(self, passes: Passes, micro: MicroBatch, weights: torch.Tensor, step: Step) -> torch.Tensor:
        batch = micro.batch
        logits = passes.logits(batch)
        loss = weighted_nll(logits, batch.labels, weights, step.tokens)
        questions = self.rows.questions[micro.rows]
        disagreement = logits.new_zeros(())
        for second in range(1, len(questions)):
            if questions[second] == questions[second - 1]:
                p, q = (logits[(batch.row == row) & batch.answer] for row in (second - 1, second))
                disagreement = disagreement + (kl_divergence(p, q) + kl_divergence(q, p)).mean() / 2
        return loss + self.alpha * disagreement / step.units
