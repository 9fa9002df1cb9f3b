"""Which prefixes of a masked rationale the answer is predicted from (Eq. 5)."""

from typing import Literal

import numpy as np

from kpod.weighting.examples import Example

Rule = int | Literal["steps", "tokens"]


def ends(example: Example, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """Lengths of the prefixes in tokens, int64, rising; the last is the whole visible rationale.

    A number k: the whole one and one drawn from each of k - 1 equal stretches. `steps`: every step's end.
    `tokens`: every length from 1 (one more token than Eq. 5's r_<k, so that the last one counts).
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
    """How many prefixes an example has at most."""
    if rule == "tokens":
        return example.visible
    return len(np.unique(example.step[: example.visible])) if rule == "steps" else rule


def sum_factor(example: Example, rule: Rule) -> int:
    """How many terms the raw sum of Eq. 5 has: the mean over prefixes times this is (an estimate of) the sum."""
    return copies(example, "steps" if rule == "steps" else "tokens")
