"""The prefixes of a masked rationale from which the answer is predicted (Eq. 5)."""

from typing import Literal

import numpy as np

from kpod.weighting.examples import Example

Rule = int | Literal["steps", "tokens"]


def ends(example: Example, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """Lengths of the prefixes in tokens, int64, ascending; the last one is the whole visible rationale.

    `rule` k: the whole rationale and one length drawn from each of k - 1 equal intervals; `steps`: the end of every
    step; `tokens`: every length from 1 (one more token than Eq. 5's r_<k, so that the last token counts).
    """
    whole = example.visible
    if rule == "tokens":
        return np.arange(1, whole + 1)
    if rule == "steps":
        changes = np.flatnonzero(np.diff(example.step[:whole])) + 1
        return np.append(changes, whole)
    edges = np.linspace(1, whole, rule)  # stretches of 1 .. whole - 1; none for rule 1
    drawn = edges[:-1] + rng.random(rule - 1) * np.diff(edges)
    return np.unique(np.append(drawn.astype(np.int64), whole))


def copies(example: Example, rule: Rule) -> int:
    """Upper bound of the number of prefixes of an example."""
    if rule == "tokens":
        return example.visible
    return len(np.unique(example.step[: example.visible])) if rule == "steps" else rule


def sum_factor(example: Example, rule: Rule) -> int:
    """Number of terms of the sum in Eq. 5, by which the mean over prefixes is multiplied to estimate it."""
    return copies(example, "steps" if rule == "steps" else "tokens")
