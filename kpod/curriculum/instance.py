"""One selection problem of the curriculum, in the form that all solvers use.

Maximise f(S) = sum(gain[S]) + beta * sum_k sqrt(|C_k ∩ S|) subject to sum(gain[S]) <= budget: Eq. 12 without its
constant, which makes f monotone, submodular and non-negative, as every guarantee needs. Items without gain are free
and always selected; items above the budget never are. Solvers see only the items in between.
"""

from dataclasses import dataclass
from functools import cached_property
from math import fsum

import numpy as np


@dataclass(frozen=True)
class Instance:
    """Items of positive gain, sorted by cluster and gain; `items` maps them to the caller's positions."""

    gain: np.ndarray  # float64 [n], > 0, ascending within a cluster
    cluster: np.ndarray  # int64 [n], 0-based, ascending
    items: np.ndarray  # int64 [n]
    free: np.ndarray  # float64 [K]: items without gain in each cluster
    first: np.ndarray  # int64 [K + 1]: position of each cluster's first item
    beta: float
    budget: float

    @cached_property
    def step(self) -> np.ndarray:
        """float64 [n]: what each item adds to its cluster's square root if all smaller items are selected."""
        rank = np.arange(len(self.gain)) - self.first[self.cluster]
        return growth(self.free[self.cluster] + rank)

    @cached_property
    def order(self) -> np.ndarray:
        """int64 [n]: exact density-greedy order, the same for every beta > 0.

        A cluster's best m items are its m smallest, and the density of the j-th, 1 + beta * step_j / gain_j, never
        rises with j: one sort by step / gain merges the clusters. With beta = 0 all densities tie: largest first.
        """
        if self.beta == 0:
            return ascending(-self.gain)
        with np.errstate(over="ignore"):
            return ascending(-self.step / self.gain)

    @cached_property
    def upper_bound(self) -> float:
        """At least the optimum: min(budget, sum of gains) + beta * (fractional optimum of the square roots).

        The slack of 1e-12 covers the rounding of the sums.
        """
        total = float(self.gain.sum())
        roots = float(np.sqrt(self.free).sum())
        if self.beta > 0:
            gain, step = self.gain[self.order], self.step[self.order]
            whole = int(np.searchsorted(np.cumsum(gain), self.budget, side="right"))
            roots += float(step[:whole].sum())
            if whole < len(gain):
                left = max(self.budget - float(gain[:whole].sum()), 0.0)
                roots += float(step[whole]) * min(left / float(gain[whole]), 1.0)
        return (min(self.budget, total) + self.beta * roots) * (1 + 1e-12)


def growth(count: np.ndarray) -> np.ndarray:
    """sqrt(count + 1) - sqrt(count), elementwise, without cancellation."""
    return 1.0 / (np.sqrt(count + 1.0) + np.sqrt(count))


def ascending(values: np.ndarray) -> np.ndarray:
    """Stable sorting permutation (int64) of floats: numpy's fast sort, then ties put in order of position."""
    order = np.argsort(values)
    same = values[order[1:]] == values[order[:-1]]
    tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    if len(tied):
        run = np.cumsum(np.concatenate([[True], ~same]))[tied]
        order[tied] = order[tied][np.lexsort((order[tied], run))]
    return order


def build(gain: np.ndarray, cluster: np.ndarray, beta: float, budget: float) -> tuple[Instance, np.ndarray]:
    """The instance of float64 gains [n] and cluster labels [n], and the positions (int64) of the free items."""
    labels, cluster = np.unique(cluster, return_inverse=True)
    free = np.flatnonzero(gain == 0)
    items = np.flatnonzero((gain > 0) & (gain <= budget))
    items = items[ascending(gain[items])]
    small = np.min_scalar_type(max(len(labels) - 1, 0))  # numpy sorts 8- and 16-bit integers in linear time
    items = items[np.argsort(cluster[items].astype(small), kind="stable")]
    sizes = np.bincount(cluster[items], minlength=len(labels))
    instance = Instance(
        gain=gain[items],
        cluster=cluster[items],
        items=items,
        free=np.bincount(cluster[free], minlength=len(labels)).astype(np.float64),
        first=np.concatenate([[0], np.cumsum(sizes)]),
        beta=beta,
        budget=budget,
    )
    return instance, free


def fill(gain: np.ndarray, budget: float) -> np.ndarray:
    """Positions (int64, ascending) of the items selected if each, in order, is selected when it still fits `budget`.

    Works in rounds: everything up to the first item that does not fit, then only items that can still fit.
    """
    accepted: list[np.ndarray] = []
    rest = np.arange(len(gain))
    spent = 0.0
    while True:
        rest = rest[gain[rest] <= budget - spent]
        if not len(rest):
            return np.concatenate(accepted) if accepted else rest
        sums = np.cumsum(np.concatenate([[spent], gain[rest]]))[1:]
        fits = int(np.searchsorted(sums, budget, side="right"))
        if not fits:  # the difference rounded in favour of an item that the sum refuses
            rest = rest[1:]
            continue
        accepted.append(rest[:fits])
        spent = float(sums[fits - 1])
        rest = rest[fits:]


def trim(instance: Instance, chosen: np.ndarray) -> np.ndarray:
    """`chosen` (int64) without the items by which rounding exceeds the budget; each time the smallest that suffices.

    The exact, the pairwise and the running sum of the result, in its order, are all within the budget.
    """
    gain = instance.gain[chosen]
    if float(gain.sum()) <= instance.budget * (1 - 2.3e-16 * (len(gain) + 4)):  # no rounding spans this distance
        return chosen
    while len(chosen):
        gain = instance.gain[chosen]
        sums = max(fsum(gain.tolist()), float(gain.sum()), float(np.cumsum(gain)[-1]))
        if sums <= instance.budget:
            break
        enough = np.flatnonzero(gain >= min(sums - instance.budget, gain.max()))
        chosen = np.delete(chosen, enough[np.argmin(gain[enough])])
    return chosen


def augment(instance: Instance, picks: np.ndarray) -> np.ndarray:
    """The best of `picks` and of every prefix of it with one more item (Greedy+Max, Yaroslavtsev et al., ICML 2020).

    `picks`: int64 [m] in the order of picking. Of an item's prefixes only the longest that leaves room for it
    matters, since f is monotone. Returns int64 positions; turns density greedy into a 1/2-approximation.
    """
    gain, cluster, n = instance.gain, instance.cluster, len(instance.gain)
    if not n:
        return picks
    by_cluster = np.argsort(cluster[picks], kind="stable")
    begin = np.searchsorted(cluster[picks][by_cluster], np.arange(len(instance.free) + 1))
    rank = np.empty(len(picks), dtype=np.int64)
    rank[by_cluster] = np.arange(len(picks)) - begin[cluster[picks][by_cluster]]
    roots = growth(instance.free[cluster[picks]] + rank)
    cost = np.cumsum(gain[picks])
    value = np.concatenate([[0.0], cost + instance.beta * np.cumsum(roots)])

    outside = np.ones(n, dtype=bool)
    outside[picks] = False
    candidates = np.flatnonzero(outside)
    prefix = np.searchsorted(cost, instance.budget - gain[candidates], side="right")
    most = gain[candidates] + instance.beta * growth(instance.free[cluster[candidates]])
    hopeful = value[prefix] + most > value[-1]
    candidates, prefix = candidates[hopeful], prefix[hopeful]
    if not len(candidates):
        return picks
    stride = len(picks) + 1
    keys = cluster[picks][by_cluster] * stride + by_cluster
    count = np.searchsorted(keys, cluster[candidates] * stride + prefix) - begin[cluster[candidates]]
    more = gain[candidates] + instance.beta * growth(instance.free[cluster[candidates]] + count)
    best = int(np.argmax(value[prefix] + more))
    if value[prefix[best]] + more[best] <= value[-1]:
        return picks
    return np.append(picks[: prefix[best]], candidates[best])
