"""Intervals and paired tests for shares of right answers. scipy is imported on first use."""

from collections.abc import Sequence

import numpy as np

MANY = 3  # comparisons in a table beyond which their p-values are corrected
_BATCH = 500  # resamples at a time, which bounds memory at any number of questions


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95% Wilson score interval of `successes / n`; (0, 1) for n = 0."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p-value of the exact McNemar test, from the counts of the discordant pairs; 1 without any."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def paired_bootstrap(a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = 10_000) -> tuple[float, float]:
    """95% percentile interval of mean(b) - mean(a); `a`, `b` bool [n], paired by position, n >= 1."""
    from scipy.stats import bootstrap

    difference = b.astype(np.int8) - a.astype(np.int8)
    if len(difference) == 1:  # scipy needs two
        return float(difference[0]), float(difference[0])
    rng = np.random.default_rng(seed)
    result = bootstrap((difference,), np.mean, n_resamples=draws, batch=_BATCH, method="percentile", rng=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979), in their order.

    Controls the probability of any false rejection among them.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
