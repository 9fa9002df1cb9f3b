"""The losses of Eq. 5-7 for one batch, and their separate gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kpod.config import Weights
from kpod.training import models
from kpod.weighting.batch import Batch
from kpod.weighting.masks import mask
from kpod.weighting.network import Weighter
from kpod.weighting.predictor import Predictor
from kpod.weighting.prefixes import sum_factor


@dataclass(frozen=True)
class Losses:
    """Losses and means of B rationales, float [B] each."""

    answer: Tensor  # L_p of Eq. 5: mean over prefixes (the sum without per_length)
    mask: Tensor  # L_m of Eq. 6: share of tokens that are kept (their number without per_length)
    weight: Tensor  # mean w
    kept: Tensor  # share of tokens that were not masked


def blank(embedding: nn.Embedding) -> Tensor:
    """The embedding of a masked token, float [d]: the mean of all embeddings.

    With zero, a transformer that normalises its input sees the same direction m * Emb at every m > 0, and the gradient
    at m = 0 is divided by almost nothing.
    """
    return embedding.weight.detach().float().mean(0)


def losses(
    batch: Batch,
    weighter: Weighter,
    embedding: nn.Embedding,
    masked: Tensor,
    predictor: Predictor,
    config: Weights,
    temperature: float,
) -> tuple[Losses, Tensor, Tensor]:
    """Losses of a batch, the mask m [B, R] of the weighter, and a detached copy of it, which the predictor reads.

    The predictor reads `m Emb + (1 - m) masked`, with the embedding `masked` [d] of a masked token (see `blank`). The
    copy is a leaf, so that dL_p/dm is available separately from the gradient of the weighter.
    """
    raw = embedding(batch.rationale).float()
    logits = weighter(raw.detach(), batch.visible)
    drawn = mask(logits, batch.uniform, temperature, hard=config.mask == "hard")
    leaf = drawn.detach().requires_grad_()
    with models.autocast(config.precision):
        nll = predictor.nll(batch, masked + leaf[..., None] * (raw - masked))
    counts = torch.tensor([len(ends) for ends in batch.ends], device=raw.device)
    answer = nll.sum(1) / counts
    seen = batch.visible.to(drawn.dtype)
    lengths = seen.sum(1)
    kept = (drawn * seen).sum(1)
    weight = (torch.sigmoid(logits.detach()) * seen).sum(1) / lengths
    share = kept / lengths
    if not config.per_length:
        factor = torch.tensor([sum_factor(e, config.prefixes) for e in batch.examples], device=raw.device)
        return Losses(answer * factor, kept, weight, share.detach()), drawn, leaf
    return Losses(answer, share, weight, share.detach()), drawn, leaf


def backward(
    values: Losses, drawn: Tensor, leaf: Tensor, weighter: Weighter, alpha: float, rationales: int
) -> list[Tensor]:
    """Add the gradients of `sum(L_p + alpha L_m) / rationales` (Eq. 7) to all parameters.

    `values`, `drawn` and `leaf` are the results of `losses`. Returns the part of L_p in the weighter's gradients, one
    tensor for each parameter: if it vanishes, the weighter only learns to mask.
    """
    (values.answer.sum() / rationales).backward()
    parameters = list(weighter.parameters())
    from_answer = torch.autograd.grad(drawn, parameters, leaf.grad, retain_graph=True)
    from_mask = torch.autograd.grad(alpha * values.mask.sum() / rationales, parameters)
    for parameter, answer_part, mask_part in zip(parameters, from_answer, from_mask, strict=True):
        total = answer_part + mask_part
        parameter.grad = total if parameter.grad is None else parameter.grad + total
    return list(from_answer)
