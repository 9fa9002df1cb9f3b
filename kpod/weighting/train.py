"""Training of the weighter against the answer predictor (Eq. 2-7), as a task of the engine.

Loop, checkpoints, batches by length and ranks are the engine's. The gradients of weighter and predictor are separate
and summed over the ranks here (DDP would mix them), and validation also takes place within an epoch.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kpod.config import Weights
from kpod.errors import DataError, ModelError
from kpod.store.keys import identity
from kpod.text.tokens import batches_of
from kpod.training.batches import epoch_batches
from kpod.training.engine import Engine
from kpod.training.ranks import ranks
from kpod.training.task import Position, Task
from kpod.weighting.batch import collate
from kpod.weighting.examples import Example, Examples
from kpod.weighting.loss import Losses, backward, blank, losses
from kpod.weighting.network import Weighter
from kpod.weighting.order import held_out
from kpod.weighting.predictor import Predictor
from kpod.weighting.prefixes import copies

_VALIDATION = 2**31  # the epoch number of the masks and prefixes of validation, which are always the same
_VALIDATE_EVERY = 50  # steps: on many rationales the weights can collapse long before an epoch ends
_PATIENCE = 2  # validations without a lower loss that end the training
_FIGURES = ("answer_loss", "mask_loss", "mean_weight", "keep_rate")
_SUMS = (*_FIGURES, "gradient", "rationales", "steps")  # of an epoch


class Training(Task):
    """Trains a weighter and its predictor; a batch is rows of `training`, int64 [n].

    State: sums over the epoch so far, means of the last one, the lowest validation loss, and the number of validations
    since. Buffers: the weighter at that loss.
    """

    name, unit, shown = "weights: training", "rationale", ("answer_loss", "mean_weight")

    def __init__(
        self,
        examples: Examples,
        weighter: Weighter,
        embedding: nn.Embedding,
        predictor: Predictor,
        config: Weights,
        work: Path,
    ) -> None:
        """`work`: folder of the checkpoints. Raises DataError if no example can be trained on."""
        seen = examples.take(examples.tokens.visible[examples.rows] > 0)
        self.training, self.validation = held_out(seen, config.validation, config.train_on, config.seed)
        if not self.training:
            raise DataError("weights: no rationale is left to train on; lower weights.validation or check the steps")
        # Evaluation mode although weights train: dropout would need its random state in every checkpoint.
        self.weighter, self.predictor = weighter.eval(), predictor.eval()
        self.embedding, self.config, self.folder = embedding, config, work
        embedding.weight.requires_grad_(False)
        self.blank = blank(embedding)
        self.fast = {f"weighter.{name}": value for name, value in weighter.named_parameters()}
        self.slow = {f"predictor.{name}": value for name, value in predictor.named_parameters() if value.requires_grad}
        self.parameters = self.fast | self.slow
        rates = [(self.fast, config.lr), (self.slow, config.predictor_lr or config.lr)]
        groups = [
            {"params": list(parameters.values()), "lr": rate, "initial_lr": rate}
            for parameters, rate in rates
            if parameters
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.epoch_steps = math.ceil(len(self.training) / config.batch_size)
        self.warm_steps = config.warmup * self.epoch_steps
        self.buffers = {name: value.detach().clone() for name, value in self.fast.items()}
        self.state = {"best": math.inf, "bad": 0, "validated": 0, "last": {}, "sums": dict.fromkeys(_SUMS, 0.0)}
        told = json.dumps([identity(config), self.training.digest()], sort_keys=True)
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def run(self) -> dict[str, float]:
        """Train, from the last checkpoint if there is one; the weighter then has its best state.

        Returns the means of the last epoch. Raises ModelError with the batch's keys if the loss is not finite.
        """
        self.position = Engine(self, self.folder, self.config.checkpoint_seconds).run()
        last: dict[str, float] = self.state["last"]
        return last

    def expected(self) -> int:
        return len(self.training) * (self.config.warmup + self.config.epochs)

    def finished(self, position: Position) -> bool:
        config = self.config
        return position.epoch >= config.warmup + config.epochs or self.state["bad"] >= _PATIENCE

    def batches(self, epoch: int) -> list[np.ndarray]:
        return epoch_batches(self.training.sizes, self.config.batch_size, self.config.seed, epoch)

    def work(self, batch: np.ndarray) -> int:
        return len(batch)

    def backward(self, batch: np.ndarray, position: Position) -> dict[str, float]:
        """Gradients of Eq. 7 (the predictor's only, during warm-up); rank r has every world-th rationale from r."""
        config, warm = self.config, position.step < self.warm_steps
        share = max(0, position.step - self.warm_steps) / max(1, self.epoch_steps * config.epochs - 1)
        sums = torch.zeros(len(_FIGURES), device=self.embedding.weight.device)
        from_answer = [torch.zeros_like(value) for value in self.fast.values()]
        for part in self._parts(self.training.take(batch)):
            values, drawn, leaf = self._losses(part, position.epoch, self.temperature(share))
            if not bool(torch.isfinite(values.answer).all()):
                raise ModelError(_not_finite(position.epoch, values.answer, part))
            parts = backward(values, drawn, leaf, self.weighter, config.alpha, len(batch))
            for total, gradient in zip(from_answer, parts, strict=True):
                total += gradient
            sums += torch.stack([x.detach().sum() for x in (values.answer, values.mask, values.weight, values.kept)])
        trained = list((self.slow if warm else self.parameters).values())
        for value in self.fast.values() if warm else ():
            value.grad = None  # not zero: Adam's moments must not start before the weighter does
        for value in trained:
            value.grad = torch.zeros_like(value) if value.grad is None else value.grad
        for tensor in (*(value.grad for value in trained), *from_answer, sums):
            ranks().total(tensor)
        if self.slow:
            nn.utils.clip_grad_norm_(list(self.slow.values()), 1.0)
        figures = dict(zip(_FIGURES, (sums / len(batch)).tolist(), strict=True))
        figures["gradient"] = math.sqrt(sum(float((gradient * gradient).sum()) for gradient in from_answer))
        for name, value in zip(self.state["sums"], (*sums.tolist(), figures["gradient"], len(batch), 1), strict=True):
            self.state["sums"][name] += value
        figures["loss"] = figures["answer_loss"] + config.alpha * figures["mask_loss"]
        return figures

    def after_step(self, position: Position, last_of_epoch: bool) -> None:
        trained = position.step - self.warm_steps
        if trained > 0 and trained % _VALIDATE_EVERY == 0 and not last_of_epoch:
            self._validate(position)

    def after_epoch(self, epoch: int, position: Position) -> None:
        sums = self.state["sums"]
        self.state["last"] |= {name: sums[name] / sums["rationales"] for name in _FIGURES}
        self.state["last"]["gradient"] = sums["gradient"] / sums["steps"]
        self.state["sums"] = dict.fromkeys(_SUMS, 0.0)
        if self.state["validated"] < position.step:
            self._validate(position)

    def finish(self) -> None:
        with torch.no_grad():
            for name, value in self.fast.items():
                value.copy_(self.buffers[name])

    def temperature(self, share: float) -> float:
        """Temperature of the masks, geometric from `temperature` to `final_temperature`; `share` in [0, 1]."""
        initial, end = self.config.temperature, self.config.final_temperature
        return initial if end is None else initial * (end / initial) ** share

    def validation_losses(self) -> tuple[float, float]:
        """Mean L_p and L_m over the held-out rationales, always with the same masks and prefixes."""
        sums = torch.zeros(2, device=self.embedding.weight.device)
        with torch.no_grad():
            for part in self._parts(self.validation):
                values, _, _ = self._losses(part, _VALIDATION, 1.0)
                sums += torch.stack([values.answer.sum(), values.mask.sum()])
        answer, mask = (ranks().total(sums) / len(self.validation)).tolist()
        return answer, mask

    def _validate(self, position: Position) -> None:
        """Save the weighter if L_k of Eq. 7 is the lowest since its training began.

        L_p alone prefers weights that mask nothing. Without held-out rationales the last state is the best.
        """
        self.state["validated"] = position.step
        score = -float(position.step)
        if self.validation:
            answer, mask = self.validation_losses()
            score = answer + self.config.alpha * mask
            figures = {"validation_answer_loss": answer, "validation_mask_loss": mask}
            self.state["last"] |= figures
            self.report(figures, position)
        if position.step <= self.warm_steps:
            return
        if score >= self.state["best"]:
            self.state["bad"] += 1
            return
        self.state |= {"best": score, "bad": 0}
        for name, value in self.fast.items():
            self.buffers[name].copy_(value.detach())

    def _parts(self, examples: Examples) -> list[list[Example]]:
        """This rank's forward passes, of at most `batch_tokens` tokens with the answers of all prefixes."""
        rule = self.config.prefixes
        own = sorted(examples[ranks().rank :: ranks().world], key=lambda example: example.key)
        sizes = np.array([self.predictor.size(example, copies(example, rule)) for example in own])
        return [[own[place] for place in part] for part in batches_of(sizes, self.config.batch_tokens)]

    def _losses(self, part: list[Example], epoch: int, temperature: float) -> tuple[Losses, Tensor, Tensor]:
        config, device = self.config, self.embedding.weight.device
        batch = collate(part, config.prefixes, config.seed, epoch, device)
        return losses(batch, self.weighter, self.embedding, self.blank, self.predictor, config, temperature)


def _not_finite(epoch: int, answer: Tensor, part: Sequence[Example]) -> str:
    bad = [f"{e.key[0]}/{e.key[1]}" for e, value in zip(part, answer.tolist(), strict=True) if not math.isfinite(value)]
    return (
        f"weights: the answer loss is not finite in epoch {epoch} at {', '.join(bad)}: "
        "lower weights.predictor_lr or set weights.precision to fp32"
    )
