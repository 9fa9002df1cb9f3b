"""Clusters of questions for the diversity term of Eq. 12: K-means over embeddings."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

LARGE = 10_000  # questions above which the centres are found on a sample of so many
CHUNK = 131_072  # questions embedded at a time, at most
VALUES = 2**28  # of their embeddings


def assign(ids: Sequence[str], embed: Callable[[np.ndarray], np.ndarray], clusters: int, seed: int) -> np.ndarray:
    """K-means clusters of the questions `ids`, int32 [n], 0-based.

    `embed` returns the embeddings float32 [m, d] of the questions at positions int64 [m]; those of all questions are
    never in memory at once. The result depends on the seed and the embedding of each id, not on the order of `ids`.
    With fewer distinct questions than `clusters`, fewer clusters are used.
    """
    order = np.argsort(np.asarray(ids), kind="stable")
    sample = order
    if len(order) > LARGE:
        sample = order[np.sort(np.random.default_rng(seed).choice(len(order), LARGE, replace=False))]
    points = np.asarray(embed(sample), dtype=np.float32)
    model = KMeans(min(clusters, len(order)), n_init=10, random_state=seed)
    result = np.empty(len(order), dtype=np.int32)
    # Threads add partial sums in the order in which they finish, which moves points that lie between two clusters.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        result[sample] = model.fit_predict(points)
        chunk = min(CHUNK, max(LARGE, VALUES // points.shape[1]))
        rest = np.setdiff1d(order, sample)
        for at in range(0, len(rest), chunk):
            places = rest[at : at + chunk]
            result[places] = model.predict(np.asarray(embed(places), dtype=np.float32))
    return result
