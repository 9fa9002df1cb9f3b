"""The step of each token of a rationale, from character spans."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def token_steps(
    spans: Sequence[np.ndarray], steps: Sequence[Sequence[tuple[int, int]] | np.ndarray]
) -> list[np.ndarray]:
    """The step in which each token starts, int32 [n] for each rationale, non-decreasing.

    `spans`: character spans of the tokens, int [n, 2] for each rationale, with non-decreasing starts; `steps`:
    character spans of its steps, ascending. A token after the last step belongs to it; one before the first gets -1.
    """
    tokens, counts = (np.fromiter(map(len, rows), np.int64, len(rows)) for rows in (spans, steps))
    starts = np.concatenate([np.zeros(0, np.int64), *(row[:, 0] for row in spans)])
    bounds = np.fromiter((begin for row in steps for begin, _ in row), np.int64, int(counts.sum()))
    # One search for all rationales: the characters of each are shifted behind those of the one before.
    shift = np.arange(len(spans)) * (1 + max(starts.max(initial=0), bounds.max(initial=0)))
    place = (bounds + np.repeat(shift, counts)).searchsorted(starts + np.repeat(shift, tokens), side="right")
    step = (place - 1 - np.repeat(np.cumsum(counts) - counts, tokens)).astype(np.int32)
    return [step[a:b] for a, b in pairwise([0, *np.cumsum(tokens).tolist()])]
