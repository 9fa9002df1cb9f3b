"""Clusters of questions for the diversity term of Eq. 12: K-means over embeddings."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

LARGE = 20_000  # questions above which K-means works on samples of the data


def assign(ids: Sequence[str], embeddings: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The cluster (int32 [n], 0-based) of each question.

    `embeddings`: float32 [n, d]. The result depends on the seed and on which question has which embedding, not on the
    order of the questions: they are sorted by id first. Fewer distinct questions than `clusters` fill fewer clusters.
    """
    order = np.argsort(np.asarray(ids), kind="stable")
    ordered = np.asarray(embeddings, dtype=np.float32)
    if (np.diff(order) != 1).any():  # a large table that is already in order is not copied
        ordered = ordered[order]
    count = min(clusters, len(ordered))
    if len(ordered) > LARGE:
        model = MiniBatchKMeans(count, batch_size=4096, n_init=3, random_state=seed)
    else:
        model = KMeans(count, n_init=10, random_state=seed)
    # Threads add partial sums in the order in which they finish, which moves points that lie between two clusters.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        labels = model.fit_predict(ordered)
    result = np.empty(len(ordered), dtype=np.int32)
    result[order] = labels
    return result
