"""The loss of distillation and its parts."""

import torch
import torch.nn.functional as F

IGNORED = -100


def weighted_nll(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, num_target_tokens: torch.Tensor | int
) -> torch.Tensor:
    """Eq. 15: `sum_j w_j * -log P(label_j) / num_target_tokens`, a scalar in fp32.

    `logits` [..., V] are aligned with `labels` int64 [...] (nothing is shifted here) and `weights` float [...].
    A label of -100 is ignored. `num_target_tokens` is the count over the whole batch of an optimizer step (all ranks,
    all micro-batches), so that the losses of its parts add up to its loss, which is plain cross-entropy for weights of
    one. Raises ValueError if the shapes differ.
    """
    if not logits.shape[:-1] == labels.shape == weights.shape:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (logits, labels, weights))
        raise ValueError(f"logits, labels and weights must be about the same tokens, not {shapes}")
    labels = labels.reshape(-1)
    weighted = token_nll(logits.reshape(-1, logits.shape[-1]), labels) * weights.reshape(-1).masked_fill(
        labels == IGNORED, 0
    )
    return weighted.sum() / num_target_tokens


def token_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of labels int64 [n] under `logits` [n, V], float32 [n]; 0 for a label of -100."""
    return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")


def kl_divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p, q) of the distributions of two sets of logits [n, V], float32 [n]."""
    p, q = p.float().log_softmax(-1), q.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
