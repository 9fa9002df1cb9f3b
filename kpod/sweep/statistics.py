"""Intervals and tests for questions answered by the students of several seeds.

An accuracy varies with the questions and with the seed, so the intervals resample both. With few seeds the second part
is underestimated. scipy resamples only one of the two, so both are drawn here.
"""

import numpy as np

from kpod.evaluate.statistics import mcnemar_exact, wilson

DRAWS = 4000
FLIPS = 10_000
SEED = 0  # of the draws and flips
_CHUNK = 500  # draws at a time, which bounds memory at any number of questions


def interval(right: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean of `right`, bool [seeds, questions], over resampled seeds and questions.

    Never narrower than Wilson's over the questions: a percentile interval of answers that are all wrong has no width.
    """
    low, high = np.quantile(_means(right, None), (0.025, 0.975))
    least, most = wilson(round(float(right.mean()) * right.shape[1]), right.shape[1])
    return min(float(low), least), max(float(high), most)


def difference_interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """95% interval of mean(b) - mean(a); `a` and `b`: bool [seeds, questions], on the same questions.

    If both have the same number of seeds, these are taken to be the same in order, and are resampled together.
    """
    low, high = np.quantile(_means(b, a), (0.025, 0.975))
    return float(low), float(high)


def paired_p(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value of the hypothesis that `a` and `b`, bool [seeds, questions], have the same accuracy.

    For one seed each: exact McNemar. Else a sign-flip permutation test on the questions' differences of means over
    seeds, exact if few questions differ, with fixed seeds.
    """
    from scipy.stats import permutation_test

    if len(a) == len(b) == 1:
        return mcnemar_exact(int((a[0] & ~b[0]).sum()), int((b[0] & ~a[0]).sum()))
    differences = (b.sum(0) * len(a) - a.sum(0) * len(b)).astype(np.int64)  # whole numbers, so that ties are ties
    differences = differences[differences != 0]
    if len(differences) < 2:  # one question may as well have gone the other way
        return 1.0
    test = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=FLIPS, batch=_CHUNK, rng=SEED
    )
    return float(test.pvalue)


def _means(b: np.ndarray, a: np.ndarray | None) -> np.ndarray:
    """Resampled means of `b`, minus those of `a` if given; float [DRAWS]."""
    rng = np.random.default_rng(SEED)
    questions = b.shape[1]
    means = []
    for offset in range(0, DRAWS, _CHUNK):
        draws = min(_CHUNK, DRAWS - offset)
        draw_weights = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws) / questions
        seeds = _shares(rng, len(b), draws)
        mean = ((seeds @ b) * draw_weights).sum(1)
        if a is not None:
            mean -= (((seeds if len(a) == len(b) else _shares(rng, len(a), draws)) @ a) * draw_weights).sum(1)
        means.append(mean)
    return np.concatenate(means)


def _shares(rng: np.random.Generator, seeds: int, draws: int) -> np.ndarray:
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
