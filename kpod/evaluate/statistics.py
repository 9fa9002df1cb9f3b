"""Intervals and paired tests for shares of right answers. scipy is loaded when first asked."""

from collections.abc import Sequence

import numpy as np

MANY = 3  # comparisons in a table beyond which their p-values are corrected
_BATCH = 500  # resamples at a time, which bounds memory at any number of questions


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a share; (0, 1) without a trial."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that the discordant pairs split evenly (binomial with 1/2)."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def paired_bootstrap(a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = 10_000) -> tuple[float, float]:
    """95% percentile interval of mean(b) - mean(a); `a`, `b` bool [n], paired by position, n >= 1."""
    from scipy.stats import bootstrap

    difference = b.astype(np.int8) - a.astype(np.int8)
    if len(difference) == 1:  # scipy asks for two
        return float(difference[0]), float(difference[0])
    rng = np.random.default_rng(seed)
    found = bootstrap((difference,), np.mean, n_resamples=draws, batch=_BATCH, method="percentile", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons after Holm's step-down correction (Scandinavian J. of Statistics 6, 1979).

    Bounds the chance of any false claim among them; never below the raw values, in their order.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
