"""AdamW and the learning rate of each step."""

import math
from collections.abc import Mapping

import torch

from kpod.config import Distill


def adamw(parameters: Mapping[str, torch.nn.Parameter], config: Distill) -> torch.optim.AdamW:
    """Fused AdamW with weight decay on matrices, not on norms and biases; `initial_lr` of each group is `lr`."""
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
    """Learning rate of a step as a share of the peak; `before` and `after`: spent shares of the budget, in [0, 1].

    Linear warm-up over the share `config.warmup`, then `config.decay` towards zero.
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
