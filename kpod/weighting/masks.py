"""Binary concrete masks with a straight-through gradient (Eq. 4)."""

import torch
from torch import Tensor


def mask(logits: Tensor, uniform: Tensor, temperature: float, hard: bool = True) -> Tensor:
    """Sample m_j from Bernoulli(sigmoid(logit_j)), with a gradient with respect to the logits.

    `uniform`: random numbers in (0, 1), of the shape of `logits`. The relaxed value is
    `sigmoid((logit + log u - log(1 - u)) / temperature)`; `hard` rounds it to 0 or 1 (exactly Bernoulli at any
    temperature), with the gradient of the relaxed value.
    """
    soft = torch.sigmoid((logits + torch.logit(uniform)) / temperature)
    if not hard:
        return soft
    return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
