"""AdamW and the learning rate of each step."""

import math
from collections.abc import Mapping

import torch

from kpod.config import Distill


def adamw(parameters: Mapping[str, torch.nn.Parameter], config: Distill) -> torch.optim.AdamW:
    """Fused AdamW; weight decay acts on matrices only, not on norms and biases."""
    matrices = [value for value in parameters.values() if value.dim() >= 2]
    vectors = [value for value in parameters.values() if value.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [{**group, "initial_lr": config.lr} for group in groups if group["params"]],
        lr=config.lr,
        betas=(0.9, config.beta2),
        fused=True,
    )


def schedule(before: float, after: float, config: Distill) -> float:
    """Share of the peak rate in a step, given the shares of the budget that are spent `before` and `after` it (0 to 1).

    A linear rise over the share `config.warmup`, then `config.decay` towards (not to) zero.
    """
    if before < config.warmup:
        return min(1.0, after / config.warmup)
    left = (1 - before) / (1 - config.warmup)
    match config.decay:
        case "constant":
            return 1.0
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
