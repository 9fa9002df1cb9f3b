"""Batches of rationales: padded ids, and the random numbers of each rationale's masks and prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kpod.weighting.examples import Example
from kpod.weighting.prefixes import Rule, ends


@dataclass(frozen=True)
class Batch:
    """B rationales padded to R tokens, with up to P prefixes each."""

    examples: Sequence[Example]
    rationale: Tensor  # int64 [B, R], the student's ids; padding 0
    visible: Tensor  # bool [B, R]: no padding, and not in a closing statement of the answer
    uniform: Tensor  # float [B, R] in (0, 1), the randomness of the masks
    ends: list[np.ndarray]  # B arrays of prefix lengths

    def __len__(self) -> int:
        return len(self.examples)


def collate(examples: Sequence[Example], rule: Rule, seed: int, epoch: int, device: torch.device) -> Batch:
    """Pad `examples` to a batch on `device`, with prefixes by `rule`.

    Masks and prefixes depend on (seed, epoch, key), not on the other rows of the batch.
    """
    width = max(len(example.rationale) for example in examples)
    ids = np.zeros((len(examples), width), dtype=np.int64)
    lengths = np.array([len(example.rationale) for example in examples])
    visible = np.array([example.visible for example in examples])
    uniform = np.full((len(examples), width), 0.5, dtype=np.float32)
    cuts = []
    for row, example in enumerate(examples):
        rng = np.random.default_rng([seed, epoch, example.seed])
        ids[row, : lengths[row]] = example.rationale
        uniform[row, : lengths[row]] = rng.random(lengths[row], dtype=np.float32)
        cuts.append(ends(example, rule, rng))
    place = np.arange(width)[None, :]
    return Batch(
        examples=examples,
        rationale=torch.from_numpy(ids).to(device),
        visible=torch.from_numpy(place < visible[:, None]).to(device),
        uniform=torch.from_numpy(uniform).to(device),
        ends=cuts,
    )
