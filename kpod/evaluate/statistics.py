"""Intervals and paired tests for shares of right answers."""

import math

import numpy as np

Z = 1.959963984540054  # 97.5% quantile of the normal distribution


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a share; (0, 1) without a trial. A mean over seeds may be a broken number."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z * Z / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that the discordant pairs split evenly (binomial with 1/2)."""
    n, k = only_a + only_b, min(only_a, only_b)
    tail = term = 1
    for i in range(k):  # term: n choose i + 1
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n)


def paired_bootstrap(a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = 10_000) -> tuple[float, float]:
    """95% percentile interval of mean(b) - mean(a); `a`, `b` bool [n], paired by position, n >= 1."""
    difference = b.astype(np.int8) - a.astype(np.int8)
    counts = np.array([(difference == value).sum() for value in (-1, 0, 1)])
    # Resampling n pairs is a multinomial draw of how often each of the three differences comes.
    drawn = np.random.default_rng(seed).multinomial(len(a), counts / len(a), size=draws)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / len(a), (0.025, 0.975))
    return float(low), float(high)
