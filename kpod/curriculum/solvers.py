"""Solvers of Eq. 12, a submodular knapsack: which rationales give up input steps at a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import isnan, log, sqrt
from typing import Literal

import numpy as np

from kpod.curriculum.instance import Instance, augment, build, fill, growth, trim

Solver = Literal["structured", "ftgp", "greedy"]


@dataclass(frozen=True)
class Selection:
    """A feasible set: positions (int64, ascending), its objective, and a bound that no feasible set exceeds."""

    indices: np.ndarray
    value: float
    upper_bound: float

    @property
    def gap(self) -> float:
        """Share of the bound that is missing: the selection is at least 1 - gap of the optimum."""
        return 1 - self.value / self.upper_bound if self.upper_bound > 0 else 0.0


def solve(
    gain: np.ndarray,
    cluster: np.ndarray,
    beta: float,
    budget: float,
    solver: Solver = "structured",
    eps: float = 0.05,
) -> Selection:
    """Maximise f(S) = sum(gain[S]) + beta * sum_k sqrt(|C_k ∩ S|) subject to sum(gain[S]) <= budget (Eq. 12).

    `gain` [n]: difficulty that item i would add, >= 0; `cluster` int [n]: its cluster, any labels. Guarantees against
    the optimum: 1/2 for `structured` and `greedy`, 1/2 - eps for `ftgp`. A negative budget selects nothing.
    Raises ValueError for shapes that differ, values that are not finite or below zero, or an unknown solver.
    """
    gain, cluster = np.asarray(gain, dtype=np.float64), np.asarray(cluster)
    if gain.ndim != 1 or gain.shape != cluster.shape:
        raise ValueError(f"gain and cluster must be vectors of one length, not {gain.shape} and {cluster.shape}")
    if not np.isfinite(gain).all() or (gain < 0).any():
        raise ValueError("every gain must be finite and at least 0")
    if not 0 <= beta < float("inf") or isnan(budget):
        raise ValueError(f"beta must be finite and at least 0, the budget a number; got {beta} and {budget}")
    if solver not in _SOLVERS:
        raise ValueError(f"no solver {solver}; there are {', '.join(_SOLVERS)}")
    if not 0 < eps < 0.5:
        raise ValueError(f"eps must lie between 0 and 0.5, not {eps}")
    if budget < 0:
        return Selection(np.empty(0, dtype=np.int64), 0.0, 0.0)
    instance, free = build(gain, cluster, float(beta), float(budget))
    chosen = _SOLVERS[solver](instance, eps)
    chosen = trim(instance, chosen[np.argsort(instance.items[chosen])])
    indices = np.sort(np.concatenate([free, instance.items[chosen]]))
    counts = instance.free + np.bincount(instance.cluster[chosen], minlength=len(instance.free))
    value = float(gain[indices].sum() + beta * np.sqrt(counts).sum())
    return Selection(indices, value, max(value, instance.upper_bound))


def _structured(instance: Instance, eps: float) -> np.ndarray:
    """Exact density greedy from one sort, the best single addition to any prefix, then swaps to spend the rest."""
    order = instance.order
    picks = order[fill(instance.gain[order], instance.budget)]
    best = augment(instance, picks)
    if best is not picks:
        rest = order[~np.isin(order, best)]
        room = instance.budget - float(instance.gain[best].sum())
        best = np.concatenate([best, rest[fill(instance.gain[rest], room)]])
    return _swap(instance, best)


def _swap(instance: Instance, chosen: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Exchange a chosen item for a larger one of its cluster while the budget allows: the square roots stay."""
    inside = np.zeros(len(instance.gain), dtype=bool)
    inside[chosen] = True
    for _ in range(rounds):
        room = instance.budget - float(instance.gain[inside].sum())
        if room <= instance.budget * 1e-12:
            break
        best = (0.0, -1, -1)
        for begin, end in zip(instance.first[:-1], instance.first[1:], strict=True):
            best = max(best, _best_swap(instance.gain[begin:end], inside[begin:end], room, int(begin)))
        if best[0] <= 0:
            break
        inside[best[1]], inside[best[2]] = False, True
    return np.flatnonzero(inside)


def _best_swap(gain: np.ndarray, inside: np.ndarray, room: float, shift: int) -> tuple[float, int, int]:
    """(what it adds, item out, item in) of the swap in one cluster that adds most without adding more than `room`."""
    outside = np.flatnonzero(~inside)
    if not len(outside):
        return 0.0, -1, -1
    # Only an item within `room` of the smallest one outside can be exchanged.
    begin = int(np.searchsorted(gain, gain[outside[0]] - room))
    chosen = begin + np.flatnonzero(inside[begin:])
    partner = np.searchsorted(gain[outside], gain[chosen] + room, side="right") - 1
    added = np.where(partner >= 0, gain[outside[np.maximum(partner, 0)]] - gain[chosen], 0.0)
    added[added > room] = 0.0
    if not len(added) or added.max() <= 0:
        return 0.0, -1, -1
    best = int(np.argmax(added))
    return float(added[best]), shift + int(chosen[best]), shift + int(outside[partner[best]])


def _greedy(instance: Instance, eps: float) -> np.ndarray:
    """Lazy density greedy on a heap, as for any submodular f, then the best single addition to any prefix."""
    gain, cluster = instance.gain.tolist(), instance.cluster.tolist()
    count = instance.free.tolist()
    # 1 + beta * growth / gain orders like growth / gain; with beta = 0 all densities tie.
    weight = 1.0 if instance.beta > 0 else 0.0

    def density(item: int) -> float:
        m = count[cluster[item]]
        with_more = 1.0 / (sqrt(m + 1) + sqrt(m))
        return weight * with_more / gain[item]

    heap = [(-density(item), item) for item in range(len(gain))]
    heapify(heap)
    room, picks = instance.budget, []
    while heap:
        key, item = heap[0]
        if gain[item] > room:
            heappop(heap)
        elif density(item) < -key:
            heapreplace(heap, (-density(item), item))
        else:
            heappop(heap)
            picks.append(item)
            room -= gain[item]
            count[cluster[item]] += 1
    return augment(instance, np.asarray(picks, dtype=np.int64))


def _ftgp(instance: Instance, eps: float) -> np.ndarray:
    """Threshold greedy (the paper's choice; Li et al., NeurIPS 2022): 1/2 - eps in O(n / eps * log(1 / eps)).

    Every pass takes, in the order of the items, what fits and has density at least tau; tau falls by 1 - eps from
    U / (2 eps budget) to U / (4 budget), where the optimum lies in [U / 2, U]. Then the best single addition.
    """
    if not len(instance.gain):
        return np.empty(0, dtype=np.int64)
    # The order of the caller, not the sorted one: the algorithm must not profit from a sort.
    waiting = np.argsort(instance.items)
    gain, cluster, beta = instance.gain, instance.cluster, instance.beta
    count = instance.free.copy()
    bound = instance.upper_bound - beta * float(np.sqrt(instance.free).sum())
    room, picks = instance.budget, np.empty(0, dtype=np.int64)
    if float(gain.sum()) <= room:
        return waiting
    highest = bound / (2 * eps * room)
    for turn in range(int(log(2 / eps) / -log(1 - eps)) + 2):
        tau = highest * (1 - eps) ** turn
        waiting = waiting[gain[waiting] <= room]
        dense = beta * growth(count[cluster[waiting]]) >= (tau - 1) * gain[waiting]
        picked, room = _pass(gain, cluster, count, waiting[dense], beta, tau, room)
        picks = np.concatenate([picks, picked])
        waiting = waiting[~np.isin(waiting, picked)]
        if tau <= 1 or not len(waiting):
            break  # every density is at least 1: nothing that fits is left
    return augment(instance, picks)


def _pass(
    gain: np.ndarray, cluster: np.ndarray, count: np.ndarray, items: np.ndarray, beta: float, tau: float, room: float
) -> tuple[np.ndarray, float]:
    """One pass over the items that reached tau before it; each pick lowers the density of its cluster's others."""
    counts, picks = count.tolist(), []
    for item, g, k in zip(items.tolist(), gain[items].tolist(), cluster[items].tolist(), strict=True):
        m = counts[k]
        if g <= room and beta / (sqrt(m + 1) + sqrt(m)) >= (tau - 1) * g:
            picks.append(item)
            room -= g
            counts[k] = m + 1
    count[:] = counts
    return np.asarray(picks, dtype=np.int64), room


_SOLVERS: dict[str, Callable[[Instance, float], np.ndarray]] = {
    "structured": _structured,
    "ftgp": _ftgp,
    "greedy": _greedy,
}
