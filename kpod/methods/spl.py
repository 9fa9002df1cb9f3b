"""Self-paced learning (Wan et al., 2020): the student's own confidence under dropout weights rows and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from kpod.errors import ModelError
from kpod.fields import MethodSettings
from kpod.methods.base import Objective, Step, method

if TYPE_CHECKING:
    import torch

    from kpod.training.batches import Batch
    from kpod.training.passes import Micro, Passes


class Spl(MethodSettings):
    """Self-paced learning (Wan et al., 2020): tokens whose probability varies under dropout count less."""

    kind: Literal["spl"] = "spl"
    passes: int = Field(5, ge=2, description="Passes with dropout from which the variance is taken.")
    dropout: float = Field(0.1, gt=0, lt=1, description="Dropout of the student when distill.dropout is 0.")

    def training_dropout(self, dropout: float) -> float:
        return dropout or self.dropout


def confidence(probabilities: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Token weight times row weight, float [n], from the label's probability in each pass: [passes, n].

    A token's is `(1 - Var p_j)^2` over the passes; a row's is the same of the mean probability of its tokens.
    `row` int64 [n] numbers the row of each token.
    """
    rows = int(row.max()) + 1
    sizes = row.bincount(minlength=rows).clamp(min=1)
    means = probabilities.new_zeros(len(probabilities), rows).index_add_(1, row, probabilities) / sizes
    of_tokens, of_rows = ((1 - p.var(0, unbiased=False)) ** 2 for p in (probabilities, means))
    return of_tokens * of_rows[row]


@method(Spl)
class SelfPaced(Objective):
    """The weights are a softmax over all target tokens of the step, times their number: their mean is 1."""

    def start(self, passes: Passes) -> None:
        settings = cast(Spl, self.config.objective)
        self.repeats = settings.passes
        micro = next(passes.micros([(0,)], self.given(0)))
        first, second = (self._probabilities(passes, micro.batch) for _ in range(2))
        if first.equal(second):
            raise ModelError(f"spl: {type(passes.model).__name__} has no dropout, so its variance is zero")

    def weights(self, passes: Passes, micros: Sequence[Micro], step: Step) -> list[torch.Tensor]:
        import torch

        raised = []
        for micro in micros:
            probabilities = torch.stack([self._probabilities(passes, micro.batch) for _ in range(self.repeats)])
            raised.append(confidence(probabilities, micro.batch.row).exp())
        mine = torch.stack([micro.counts * one.sum() for micro, one in zip(micros, raised, strict=True)]).sum()
        total = passes.ranks.total(mine)
        return [step.tokens * one / total for one in raised]

    def _probabilities(self, passes: Passes, batch: Batch) -> torch.Tensor:
        """Of the labels, float32 [n], with dropout on."""
        with passes.autocast():
            return (-passes.quiet_nll(batch)).exp()
