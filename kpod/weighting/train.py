"""Training of the weighter against the answer predictor (Eq. 2-7): batches, checkpoints, early stop."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kpod import observe
from kpod.config import Weights
from kpod.errors import DataError, ModelError
from kpod.text.tokens import split_by_tokens
from kpod.training.ranks import ranks
from kpod.weighting import checkpoint
from kpod.weighting.batch import collate
from kpod.weighting.examples import Example
from kpod.weighting.loss import backward, blank, losses
from kpod.weighting.network import Weighter
from kpod.weighting.order import batches, held_out
from kpod.weighting.predictor import Predictor
from kpod.weighting.prefixes import copies

_WATCH = 2**31  # the "epoch" whose masks and prefixes validation uses, the same every time
_WATCH_EVERY = 50  # steps: on many rationales the weights can fall to nothing long before an epoch ends
_SUMS = ("answer_loss", "mask_loss", "mean_weight", "keep_rate")


class Training:
    """Everything that changes while the weighter is trained, so that it can be stored and taken up again."""

    def __init__(
        self,
        examples: Sequence[Example],
        weighter: Weighter,
        embedding: nn.Embedding,
        predictor: Predictor,
        config: Weights,
        work: Path,
    ) -> None:
        """`work`: folder of the checkpoint. Raises DataError if no example can be trained on."""
        seen = [example for example in examples if example.visible]
        self.training, self.watched = held_out(seen, config.validation, config.train_on, config.seed)
        if not self.training:
            raise DataError("weights: no rationale is left to train on; lower weights.validation or check the steps")
        # Evaluation mode although weights train: dropout would need its random state in every checkpoint.
        self.weighter, self.predictor = weighter.eval(), predictor.eval()
        self.embedding, self.config = embedding, config
        self.path = work / "training.safetensors"
        self.rank, self.world = ranks().rank, ranks().world
        self.device = embedding.weight.device
        embedding.weight.requires_grad_(False)
        self.masked = blank(embedding)
        slow = {f"predictor.{n}": p for n, p in predictor.named_parameters() if p.requires_grad}
        self.fast = {f"weighter.{n}": p for n, p in weighter.named_parameters()}
        self.slow = slow
        groups = [{"params": list(self.fast.values()), "lr": config.lr}]
        if slow:
            groups.append({"params": list(slow.values()), "lr": config.predictor_lr or config.lr})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.epoch_steps = math.ceil(len(self.training) / config.batch_size)
        self.warm_steps = config.warmup * self.epoch_steps
        self.epoch = self.batch = self.step = self.bad = 0
        self.best = math.inf
        # What inference uses; the predictor has done its work.
        self.kept = self.fast
        self.best_state = self._state()
        self.sums = dict.fromkeys((*_SUMS, "gradient", "rationales", "steps"), 0.0)
        self.last: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        """Train to the end, or on from the last checkpoint; the weighter then holds its best state.

        Returns the last epoch's means. Raises ModelError with the batch's keys if the loss is not finite.
        """
        self._restore()
        config, saved = self.config, time.monotonic()
        epochs = config.warmup + config.epochs
        total, done = len(self.training) * epochs, len(self.training) * self.epoch
        with observe.progress("weights: training", total, "rationale", initial=min(done, total)) as bar:
            while self.epoch < epochs and self.bad < config.patience:
                plan = batches(self.training, config.batch_size, config.seed, self.epoch)
                for batch in plan[self.batch :]:
                    figures = self._step(batch)
                    bar.advance(len(batch), loss=f"{figures['answer_loss']:.3f}", w=f"{figures['mean_weight']:.2f}")
                    trained = self.step - self.warm_steps
                    if trained > 0 and trained % _WATCH_EVERY == 0 and self.batch < len(plan):
                        self._watch()
                        if self.bad >= config.patience:
                            break
                    if time.monotonic() - saved > config.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
                self._end_epoch()
                self._save()
        with torch.no_grad():
            for name, parameter in self.kept.items():
                parameter.copy_(self.best_state[name])
        return self.last

    def _parts(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Forward passes of at most `batch_tokens` tokens, the answer copies of all prefixes among them."""
        rule = self.config.prefixes
        return split_by_tokens(
            examples, self.config.batch_tokens, lambda one: self.predictor.size(one, copies(one, rule))
        )

    def _state(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.kept.items()}

    def _temperature(self, share: float) -> float:
        """Geometric from `temperature` to `final_temperature`; `share` of the training in [0, 1]."""
        start, end = self.config.temperature, self.config.final_temperature
        return start if end is None else start * (end / start) ** share

    def _step(self, examples: list[Example]) -> dict[str, float]:
        """One optimizer step on a global batch; each rank takes every world-th part of it."""
        config = self.config
        warm = self.step < self.warm_steps
        share = max(0, self.step - self.warm_steps) / max(1, self.epoch_steps * config.epochs - 1)
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(_SUMS), device=self.device)
        from_answer: list[Tensor] = [torch.zeros_like(p) for p in self.fast.values()]
        for part in self._parts(examples[self.rank :: self.world]):
            batch = collate(part, config.prefixes, config.seed, self.epoch, self.device)
            found, drawn, leaf = losses(
                batch, self.weighter, self.embedding, self.masked, self.predictor, config, self._temperature(share)
            )
            if not bool(torch.isfinite(found.answer).all()):
                raise ModelError(_not_finite(self.epoch, found.answer, part))
            for mine, new in zip(
                from_answer, backward(found, drawn, leaf, self.weighter, config.alpha, len(examples)), strict=True
            ):
                mine += new
            sums += torch.stack([x.detach().sum() for x in (found.answer, found.mask, found.weight, found.kept)])
        if warm:  # no gradient at all, rather than zero: Adam's moments must not start before the weighter does
            for parameter in self.fast.values():
                parameter.grad = None
        parameters = [*([] if warm else self.fast.values()), *self.slow.values()]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for tensor in (*(p.grad for p in parameters if p.grad is not None), *from_answer, sums):
            ranks().total(tensor)
        if self.slow:
            nn.utils.clip_grad_norm_(list(self.slow.values()), 1.0)
        self.optimizer.step()
        self.step += 1
        self.batch += 1
        figures = dict(zip(_SUMS, (sums / len(examples)).tolist(), strict=True))
        figures["gradient"] = math.sqrt(sum(float((g * g).sum()) for g in from_answer))
        for name in _SUMS:
            self.sums[name] += figures[name] * len(examples)
        self.sums["gradient"] += figures["gradient"]
        self.sums["rationales"] += len(examples)
        self.sums["steps"] += 1
        if self.rank == 0:
            observe.metrics(figures, self.step)
        return figures

    def _end_epoch(self) -> None:
        count, steps = self.sums["rationales"], self.sums["steps"]
        self.last = {name: self.sums[name] / count for name in _SUMS}
        self.last["gradient"] = self.sums["gradient"] / steps
        self.sums = dict.fromkeys(self.sums, 0.0)
        self.epoch, self.batch = self.epoch + 1, 0
        self._watch()

    def _watch(self) -> None:
        """Validate, and remember the weighter if L_k of Eq. 7 is the lowest since it began to train.

        L_p alone prefers weights that mask nothing.
        """
        score = -float(self.step)  # nothing to watch: the last state is the best
        if self.watched:
            answer, masked = self._validate()
            score = answer + self.config.alpha * masked
            self.last |= {"validation_answer_loss": answer, "validation_mask_loss": masked}
            if self.rank == 0:
                observe.metrics({"validation_answer_loss": answer, "validation_mask_loss": masked}, self.step)
        if self.step <= self.warm_steps:
            return
        if score < self.best:
            self.best, self.bad = score, 0
            self.best_state = self._state()
        else:
            self.bad += 1

    def _validate(self) -> tuple[float, float]:
        """Mean L_p and L_m over the held-out rationales, with the same masks and prefixes every time."""
        sums = torch.zeros(2, device=self.device)
        with torch.no_grad():
            for part in self._parts(self.watched[self.rank :: self.world]):
                batch = collate(part, self.config.prefixes, self.config.seed, _WATCH, self.device)
                found, _, _ = losses(
                    batch, self.weighter, self.embedding, self.masked, self.predictor, self.config, 1.0
                )
                sums += torch.stack([found.answer.sum(), found.mask.sum()])
        ranks().total(sums)
        answer, masked = (sums / len(self.watched)).tolist()
        return answer, masked

    def _settings(self) -> dict[str, object]:
        """What must be equal for a checkpoint to fit."""
        told = self.config.model_dump(mode="json", exclude={"batch_tokens", "checkpoint_seconds"})
        return {**told, "keys": [list(e.key) for e in self.training]}

    def _save(self) -> None:
        if self.rank:
            return
        tensors = {**self.fast, **self.slow, **{f"best.{n}": t for n, t in self.best_state.items()}}
        names = [*self.fast, *self.slow]
        for name, parameter in zip(names, [*self.fast.values(), *self.slow.values()], strict=True):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        facts = {name: getattr(self, name) for name in ("epoch", "batch", "step", "bad", "best", "sums", "last")}
        checkpoint.write(self.path, tensors, {**facts, "settings": self._settings()})

    def _restore(self) -> None:
        found = checkpoint.read(self.path)
        if found is None or found[1].pop("settings", None) != self._settings():
            return
        tensors, facts = found
        with torch.no_grad():
            for name, parameter in [*self.fast.items(), *self.slow.items()]:
                parameter.copy_(tensors[name])
                moments = [key.split(".")[1] for key in tensors if key.startswith("adam.") and key.endswith(f".{name}")]
                for moment in moments:
                    self.optimizer.state[parameter][moment] = tensors[f"adam.{moment}.{name}"].to(
                        parameter.device if moment != "step" else "cpu"
                    )
            for name, value in self.best_state.items():
                value.copy_(tensors[f"best.{name}"])
        for name, value in facts.items():
            setattr(self, name, value)


def _not_finite(epoch: int, answer: Tensor, part: Sequence[Example]) -> str:
    bad = [f"{e.key[0]}/{e.key[1]}" for e, value in zip(part, answer.tolist(), strict=True) if not math.isfinite(value)]
    return (
        f"weights: the answer loss is not finite in epoch {epoch} at {', '.join(bad)}: "
        "lower weights.predictor_lr or set weights.precision to fp32"
    )
