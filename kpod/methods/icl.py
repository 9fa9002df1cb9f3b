"""In-sample curriculum (Jia et al., 2023): train on the end of each target first, then on more and more of it."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from kpod import observe
from kpod.config import Distill
from kpod.config.methods import Icl
from kpod.errors import DataError
from kpod.methods.base import Objective
from kpod.training.examples import Example
from kpod.training.passes import Passes, Unit


def input_tokens(length: int, rho: float) -> int:
    """Number of target tokens that are input, `floor(rho * length)`; the last token is always trained."""
    return min(int(rho * length + 1e-9), length - 1)


class InSample(Objective):
    """A share rho of each target is input, reduced whenever validation stalls. State: rho and its best loss."""

    def __init__(self, rows: Sequence[Example], schedule: np.ndarray, config: Distill) -> None:
        super().__init__(rows, schedule, config)
        self.settings = cast(Icl, config.objective)
        self.state = {"rho": self.settings.rho, "best": None}
        questions = sorted({row.key[0] for row in rows})
        held = np.random.default_rng([config.seed, 1]).permutation(len(questions))
        held = held[: max(1, round(self.settings.validation * len(questions)))]
        self.held_out = {questions[i] for i in held}
        self.validation = [i for i, row in enumerate(rows) if row.key[0] in self.held_out]
        if len(self.held_out) == len(questions):
            raise DataError("icl holds questions out to watch the validation loss: it needs two questions or more")

    def units(self, epoch: int) -> list[Unit]:
        return [unit for unit in super().units(epoch) if self.rows[unit[0]].key[0] not in self.held_out]

    def input_tokens(self, epoch: int) -> np.ndarray:
        return np.array([input_tokens(len(row.target), self.state["rho"]) for row in self.rows])

    def end_epoch(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        rho, best = self.state["rho"], self.state["best"]
        loss = float(passes.row_losses(self.validation, self.input_tokens(epoch))[self.validation].mean())
        if best is not None and loss >= best and rho > 0:
            # At another share the losses are of other tokens, so the comparison starts again.
            self.state = {"rho": max(0.0, round(rho - self.settings.drop, 9)), "best": None}
        else:
            self.state = {"rho": rho, "best": loss if best is None else min(best, loss)}
        if last and rho > 0:
            observe.warning(f"icl: {rho:.0%} of each target were input in the last epoch; raise distill.budget")
        return {"icl_rho": rho, "validation_loss": loss}
