"""Self-paced learning (Wan et al., 2020): rows and tokens are weighted by the student's confidence under dropout."""

from collections.abc import Sequence
from typing import cast

import torch

from kpod.config.methods import Spl
from kpod.errors import ModelError
from kpod.methods.base import Objective, Step
from kpod.training.batches import Batch
from kpod.training.passes import MicroBatch, Passes


def confidence(probabilities: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Token weight times row weight, float [n], from the probabilities of the labels in each pass, [passes, n].

    A token's weight is `(1 - Var p_j)^2` over the passes, a row's the same of its mean probability. `row` int64 [n]:
    the row of each token.
    """
    rows = int(row.max()) + 1
    sizes = row.bincount(minlength=rows).clamp(min=1)
    means = probabilities.new_zeros(len(probabilities), rows).index_add_(1, row, probabilities) / sizes
    of_tokens, of_rows = ((1 - p.var(0, unbiased=False)) ** 2 for p in (probabilities, means))
    return of_tokens * of_rows[row]


class SelfPaced(Objective):
    """Weights are a softmax of `confidence` over all target tokens of the step, times their number."""

    def setup(self, passes: Passes) -> None:
        self.repeats = cast(Spl, self.config.objective).passes
        micro = next(passes.micro_batches([(0,)], self.input_tokens(0)))
        first, second = (self._probabilities(passes, micro.batch) for _ in range(2))
        if first.equal(second):
            raise ModelError(f"spl: {type(passes.model).__name__} has no dropout, so its variance is zero")

    def weights(self, passes: Passes, batches: Sequence[MicroBatch], step: Step) -> list[torch.Tensor]:
        raised = []
        for micro in batches:
            probabilities = torch.stack([self._probabilities(passes, micro.batch) for _ in range(self.repeats)])
            raised.append(confidence(probabilities, micro.batch.row).exp())
        local = torch.stack([micro.active * values.sum() for micro, values in zip(batches, raised, strict=True)]).sum()
        total = passes.ranks.total(local)
        return [step.tokens * values / total for values in raised]

    def _probabilities(self, passes: Passes, batch: Batch) -> torch.Tensor:
        """Of the labels, float32 [n], with dropout on."""
        with passes.autocast():
            return (-passes.nll_no_grad(batch)).exp()
