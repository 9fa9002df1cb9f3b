"""Which step of a rationale a token belongs to, from characters alone."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def token_steps(
    spans: Sequence[np.ndarray], steps: Sequence[Sequence[tuple[int, int]] | np.ndarray]
) -> list[np.ndarray]:
    """The step in which each token starts, for many rationales at once: int32 [n] a rationale, non-decreasing.

    `spans`: int [n, 2] a rationale, the characters of its tokens, starts never falling; `steps`: the characters of
    its steps, ascending. A token behind the last step belongs to it; one before the first step gets -1.
    """
    tokens, counts = (np.fromiter(map(len, some), np.int64, len(some)) for some in (spans, steps))
    starts = np.concatenate([np.zeros(0, np.int64), *(found[:, 0] for found in spans)])
    bounds = np.fromiter((start for found in steps for start, _ in found), np.int64, int(counts.sum()))
    # One search for all: a rationale's characters are numbered on from the rationale before.
    shift = np.arange(len(spans)) * (1 + max(starts.max(initial=0), bounds.max(initial=0)))
    place = (bounds + np.repeat(shift, counts)).searchsorted(starts + np.repeat(shift, tokens), side="right")
    step = (place - 1 - np.repeat(np.cumsum(counts) - counts, tokens)).astype(np.int32)
    return [step[a:b] for a, b in pairwise([0, *np.cumsum(tokens).tolist()])]
