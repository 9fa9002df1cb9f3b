"""In-sample curriculum (Jia et al., 2023): train on the end of each target first, then on more and more of it."""

from typing import cast

import numpy as np

from kpod import observe
from kpod.config import Distill
from kpod.config.methods import Icl
from kpod.errors import DataError
from kpod.methods.base import Objective
from kpod.text.groups import numbered
from kpod.training.examples import Examples
from kpod.training.passes import Passes, Unit


def input_tokens(lengths: np.ndarray, rho: float) -> np.ndarray:
    """Number of target tokens that are input, `floor(rho * length)`, int64 [rows]; the last token is always trained."""
    return np.minimum((rho * lengths + 1e-9).astype(np.int64), lengths - 1)


class InSample(Objective):
    """A share rho of each target is input, reduced whenever validation stalls. State: rho and its best loss."""

    def __init__(self, rows: Examples, schedule: np.ndarray, config: Distill) -> None:
        super().__init__(rows, schedule, config)
        self.settings = cast(Icl, config.objective)
        self.state = {"rho": self.settings.rho, "best": None}
        question = numbered(rows.questions)
        count = 1 + int(question.max())
        held = np.random.default_rng([config.seed, 1]).permutation(count)
        self.held_out = np.isin(question, held[: max(1, round(self.settings.validation * count))])  # bool [rows]
        if self.held_out.all():
            raise DataError("icl holds questions out to watch the validation loss: it needs two questions or more")

    def units(self, epoch: int) -> list[Unit]:
        return [unit for unit in super().units(epoch) if not self.held_out[unit[0]]]

    def input_tokens(self, epoch: int) -> np.ndarray:
        return input_tokens(self.rows.targets, self.state["rho"])

    def end_epoch(self, epoch: int, passes: Passes, last: bool) -> dict[str, float]:
        rho, best = self.state["rho"], self.state["best"]
        watched = np.flatnonzero(self.held_out)
        loss = float(passes.row_losses(watched, self.input_tokens(epoch))[watched].mean())
        if best is not None and loss >= best and rho > 0:
            # At another share the losses are of other tokens, so the comparison starts again.
            self.state = {"rho": max(0.0, round(rho - self.settings.drop, 9)), "best": None}
        else:
            self.state = {"rho": rho, "best": loss if best is None else min(best, loss)}
        if last and rho > 0:
            observe.warning(f"icl: {rho:.0%} of each target were input in the last epoch; raise distill.budget")
        return {"icl_rho": rho, "validation_loss": loss}
