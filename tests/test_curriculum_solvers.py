"""The three solvers against brute force, and the pieces they are made of against slow versions."""

from math import fsum, inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpod.curriculum import solve
from kpod.curriculum.instance import ascending, augment, build, fill

SOLVERS = ("structured", "ftgp", "greedy")
EPS = (0.01, 0.05, 0.2, 0.45)


def objective(gain: np.ndarray, cluster: np.ndarray, beta: float, chosen: np.ndarray) -> float:
    counts = np.unique(cluster[chosen], return_counts=True)[1]
    return fsum(gain[chosen]) + beta * fsum(np.sqrt(counts))


def optimum(gain: np.ndarray, cluster: np.ndarray, beta: float, budget: float) -> float:
    """The best value over all subsets, -inf if not even the empty one is feasible."""
    n = len(gain)
    subsets = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(bool)
    cost = np.array([fsum(gain[s]) for s in subsets])
    roots = sum((np.sqrt(subsets[:, cluster == k].sum(axis=1)) for k in np.unique(cluster)), np.zeros(1 << n))
    return float(np.where(cost <= budget, cost + beta * roots, -inf).max())


def check(gain: np.ndarray, cluster: np.ndarray, beta: float, budget: float, eps: float) -> None:
    best = optimum(gain, cluster, beta, budget)
    for solver in SOLVERS:
        found = solve(gain, cluster, beta, budget, solver, eps)  # type: ignore[arg-type]
        chosen = found.indices
        assert (np.diff(chosen) > 0).all()
        assert set(chosen) <= set(range(len(gain)))
        assert max(fsum(gain[chosen]), sum(gain[chosen]), gain[chosen].sum()) <= budget, solver
        value = objective(gain, cluster, beta, chosen)
        assert found.value == pytest.approx(value, rel=1e-9, abs=1e-300)
        assert found.value >= (0.5 - eps if solver == "ftgp" else 0.5) * best, solver
        assert found.upper_bound >= best, solver
        assert found.value <= found.upper_bound
        assert 0 <= found.gap <= 1


KINDS = {
    "ordinary": lambda rng, n: rng.gamma(2.0, 0.5, n),
    "small integers with zeros": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "from tiny to huge": lambda rng, n: 10.0 ** rng.uniform(-9, 9, n),
    "all equal": lambda rng, n: np.full(n, rng.choice([1e-9, 1.0, 3.3, 1e9])),
    "nearly equal": lambda rng, n: 1 + rng.random(n) * 1e-9,
    "one huge among small": lambda rng, n: np.where(np.arange(n) == 0, 1e6, rng.random(n)),
    "tenths": lambda rng, n: rng.integers(1, 9, n) / 10,
    "zeros": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("kind", KINDS)
def test_solvers_against_brute_force(kind: str) -> None:
    rng = np.random.default_rng(list(KINDS).index(kind))
    for _ in range(400):
        n = int(rng.integers(0, 9))
        gain = KINDS[kind](rng, n)
        cluster = rng.integers(0, int(rng.integers(1, 5)), n)
        subset = float(gain[rng.random(n) < 0.5].sum())  # the budget may be met exactly
        budget = float(rng.choice([0, 0.3, 0.5, 0.77, 1, 1.5])) * float(gain.sum())
        beta = float(rng.choice([0, 1e-6, 0.1, 1, 12, 1e6]))
        check(gain, cluster, beta, subset if rng.random() < 0.3 else budget, float(rng.choice(EPS)))


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1e-9, 0.1, 0.2, 0.3, 1, 1.5, 7, 1e9]), st.integers(0, 3)), max_size=8),
    st.sampled_from([0.0, 1e-9, 0.5, 12.0, 1e9]),
    st.sampled_from([0.0, 1e-9, 0.3, 0.6, 1, 2.5, 8, 1e9, 2e9]),
    st.sampled_from(EPS),
)
def test_solvers_on_awkward_values(items: list[tuple[float, int]], beta: float, budget: float, eps: float) -> None:
    check(np.array([g for g, _ in items], dtype=float), np.array([k for _, k in items], dtype=int), beta, budget, eps)


@pytest.mark.parametrize("solver", SOLVERS)
def test_edges(solver: str) -> None:
    nothing = solve(np.zeros(0), np.zeros(0, int), 12, 5, solver)  # type: ignore[arg-type]
    assert (len(nothing.indices), nothing.value, nothing.upper_bound) == (0, 0, 0)
    free = solve([0, 1, 0], [4, 4, -9], 12, 0, solver)  # type: ignore[arg-type]
    assert free.indices.tolist() == [0, 2]  # what is free is always taken
    assert free.value == pytest.approx(24)
    assert solve([0, 1], [0, 0], 12, -1, solver).indices.tolist() == []  # type: ignore[arg-type]
    everything = solve([3, 1, 2], [0, 1, 0], 1, inf, solver)  # type: ignore[arg-type]
    assert everything.indices.tolist() == [0, 1, 2]
    assert everything.value == pytest.approx(6 + sqrt(2) + 1)
    assert everything.gap == pytest.approx(0, abs=1e-9)
    assert solve([6, 6], [0, 1], 1, 5, solver).indices.tolist() == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gain", "cluster", "beta", "budget"),
    [
        ([1, nan], [0, 0], 1, 1),
        ([1, inf], [0, 0], 1, 1),
        ([1, -1], [0, 0], 1, 1),
        ([1, 1], [0], 1, 1),
        ([[1]], [[0]], 1, 1),
        ([1], [0], -1, 1),
        ([1], [0], nan, 1),
        ([1], [0], 1, nan),
    ],
)
def test_wrong_values_are_refused(gain: list, cluster: list, beta: float, budget: float) -> None:
    with pytest.raises(ValueError, match="must"):
        solve(gain, cluster, beta, budget)  # type: ignore[arg-type]


def test_one_large_item_can_beat_the_greedy_prefix() -> None:
    """Density greedy alone takes the small item first and then has no room for nearly all of the value."""
    for solver in SOLVERS:
        found = solve([1, 100], [0, 1], 12, 100, solver)  # type: ignore[arg-type]
        assert found.indices.tolist() == [1]


def test_structured_is_at_least_as_good_as_the_heap() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        n = int(rng.integers(1, 300))
        gain, cluster = rng.gamma(2, 0.5, n), rng.integers(0, 5, n)
        beta, budget = 10 ** rng.uniform(-3, 3), float(gain.sum()) * rng.random()
        structured, greedy = (solve(gain, cluster, beta, budget, s) for s in ("structured", "greedy"))  # type: ignore[arg-type]
        assert structured.value >= greedy.value * (1 - 1e-12)


def test_the_certificate_is_tight_on_many_items() -> None:
    rng = np.random.default_rng(6)
    gain, cluster = rng.gamma(2, 0.5, 50_000), rng.integers(0, 5, 50_000)
    for share in (0.02, 0.1, 0.5):
        assert solve(gain, cluster, 12, share * float(gain.sum())).gap < 1e-4


@pytest.mark.parametrize("solver", SOLVERS)
def test_labels_and_scale_do_not_matter(solver: str) -> None:
    rng = np.random.default_rng(7)
    gain, cluster = rng.random(60), rng.integers(0, 4, 60)
    names = np.array([17, -3, 2**40, 0])
    plain = solve(gain, cluster, 12, 5, solver)  # type: ignore[arg-type]
    assert solve(gain, names[cluster], 12, 5, solver).indices.tolist() == plain.indices.tolist()  # type: ignore[arg-type]
    scaled = solve(gain * 2.0**-30, cluster, 12 * 2.0**-30, 5 * 2.0**-30, solver)  # type: ignore[arg-type]
    assert scaled.indices.tolist() == plain.indices.tolist()
    assert scaled.value == pytest.approx(plain.value * 2.0**-30)


def test_row_order_does_not_change_what_is_chosen() -> None:
    rng = np.random.default_rng(8)
    gain, cluster, shuffle = rng.random(200), rng.integers(0, 4, 200), rng.permutation(200)
    for solver in ("structured", "greedy"):
        found = solve(gain, cluster, 12, 20, solver).indices  # type: ignore[arg-type]
        again = solve(gain[shuffle], cluster[shuffle], 12, 20, solver).indices  # type: ignore[arg-type]
        assert sorted(shuffle[again]) == found.tolist()


def test_many_clusters_of_one_item() -> None:
    rng = np.random.default_rng(9)
    gain = rng.random(3000)
    found = solve(gain, np.arange(3000), 12, 100)
    assert found.gap < 2e-3


@given(st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5, 1, 2, 3.7, 9]), max_size=30), st.floats(0, 40))
def test_fill_equals_a_loop(gain: list[float], budget: float) -> None:
    taken, spent = [], 0.0
    for i, g in enumerate(gain):
        if g <= budget - spent and spent + g <= budget:
            taken.append(i)
            spent += g
    assert fill(np.array(gain), budget).tolist() == taken


@given(st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, -3.0, inf]), max_size=60))
@example([])
@example([inf, inf, 0.0, 0.0])
def test_ascending_is_a_stable_sort(values: list[float]) -> None:
    assert ascending(np.array(values)).tolist() == np.argsort(np.array(values), kind="stable").tolist()


def test_augment_finds_the_best_prefix_and_item() -> None:
    """Against all prefixes with all single items, for picks in any order."""
    rng = np.random.default_rng(10)
    for _ in range(300):
        n = int(rng.integers(1, 12))
        gain, cluster = rng.gamma(1, 2, n), rng.integers(0, 3, n)
        beta, budget = float(rng.choice([0, 1, 12])), float(gain.sum() * rng.random())
        instance, _ = build(gain, cluster, beta, budget)
        shuffled = rng.permutation(len(instance.gain))
        picks = shuffled[fill(instance.gain[shuffled], budget)]
        best = objective(instance.gain, instance.cluster, beta, picks)
        for cut in range(len(picks)):
            for item in set(range(len(instance.gain))) - set(picks[:cut].tolist()):
                candidate = np.append(picks[:cut], item)
                if fsum(instance.gain[candidate]) <= budget:
                    best = max(best, objective(instance.gain, instance.cluster, beta, candidate))
        found = augment(instance, picks)
        assert len(set(found.tolist())) == len(found)
        assert objective(instance.gain, instance.cluster, beta, found) == pytest.approx(best)
