"""Weights of all rationales: by the trained weighter, or by the rule that it should beat."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from kpod import observe
from kpod.text.tokens import split_by_tokens
from kpod.training.ranks import ranks
from kpod.weighting.batch import collate
from kpod.weighting.classes import classify
from kpod.weighting.examples import Example
from kpod.weighting.network import Weighter

Weighted = dict[tuple[str, int], np.ndarray]  # key -> float32 [n]

RULE_HIGH, RULE_LOW = 0.9, 0.1


def infer(examples: Sequence[Example], weighter: Weighter, embedding: nn.Embedding, batch_tokens: int) -> Weighted:
    """w_j of every token (Eq. 2-3), the same for any batching; each rank computes its share, all get the whole.

    A closing statement of the answer is not seen; its tokens weigh 1, as those of the answer in Eq. 1.
    """
    rank, world = ranks().rank, ranks().world
    rows: list[tuple[tuple[str, int], np.ndarray]] = []
    with observe.progress("weights: inference", len(examples), "rationale") as bar, torch.inference_mode():
        for part in split_by_tokens(examples, batch_tokens)[rank::world]:
            batch = collate(part, 1, 0, 0, embedding.weight.device)
            logits = weighter(embedding(batch.rationale).float(), batch.visible)
            weight = torch.sigmoid(logits).masked_fill(~batch.visible, 1.0).cpu().numpy()
            rows += [(e.key, w[: len(e.rationale)].copy()) for e, w in zip(part, weight, strict=True)]
            bar.advance(len(part) * world)
    return dict(ranks().collect(rows))


def by_rule(texts: Sequence[str], spans: Sequence[np.ndarray]) -> list[np.ndarray]:
    """0.9 for digits, operators and names, 0.1 for all else; float32 [n] a rationale."""
    high = {"digit", "operator", "name"}
    return [
        np.array([RULE_HIGH if kind in high else RULE_LOW for kind in classify(text, found)], dtype=np.float32)
        for text, found in zip(texts, spans, strict=True)
    ]
