"""Weights of all rationales, by the trained weighter or by a rule."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from kpod import observe
from kpod.text.table import Column
from kpod.text.tokens import batches_of
from kpod.training.ranks import ranks
from kpod.weighting.batch import collate
from kpod.weighting.classes import classify
from kpod.weighting.examples import Examples
from kpod.weighting.network import Weighter

RULE_HIGH, RULE_LOW = 0.9, 0.02  # low: no keypoint, see kpod.training.weights


def infer(examples: Examples, weighter: Weighter, embedding: nn.Embedding, batch_tokens: int) -> Column:
    """w_j of every token (Eq. 2-3), float32, a row for each example, whatever the batches of `batch_tokens` tokens.

    The batches are split over the ranks; every rank returns all weights. A closing statement of the answer is not seen;
    its tokens have weight 1, as those of the answer in Eq. 1.
    """
    rank, world = ranks().rank, ranks().world
    sizes = examples.lengths
    weights = Column.zeros(sizes, np.float32)
    with observe.progress("weights: inference", len(examples), "rationale") as bar, torch.inference_mode():
        for part in batches_of(sizes, batch_tokens)[rank::world]:
            batch = collate([examples[row] for row in part.tolist()], 1, 0, 0, embedding.weight.device)
            logits = weighter(embedding(batch.rationale).float(), batch.visible)
            weight = torch.sigmoid(logits).masked_fill(~batch.visible, 1.0).cpu().numpy()
            for row, values in zip(part.tolist(), weight, strict=True):
                weights[row][:] = values[: sizes[row]]
            bar.advance(len(part) * world)
    if world > 1:
        total = torch.from_numpy(weights.values).to(embedding.weight.device)
        weights.values[:] = ranks().total(total).cpu().numpy()
    return weights


def by_rule(texts: Sequence[str], spans: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Weights by class, float32 [n] for each text: 0.9 for digits, operators and names, 0.02 for other tokens.

    `spans`: character spans of the tokens, int64 [n, 2] for each text.
    """
    high = {"digit", "operator", "name"}
    return [
        np.array([RULE_HIGH if kind in high else RULE_LOW for kind in classify(text, places)], dtype=np.float32)
        for text, places in zip(texts, spans, strict=True)
    ]
