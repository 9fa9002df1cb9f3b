"""The schedule of Eq. 9-13: targets, monotony, options, and independence of the rows' order."""

from functools import partial
from math import fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod import config as kpod_config
from kpod.curriculum import Schedule, plan

Curriculum = partial(kpod_config.Curriculum, T=0.25)  # the default gives no steps
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "ftgp": {"solver": "ftgp"},
    "greedy": {"solver": "greedy"},
    "no diversity": {"beta": 0},
    "tiny beta": {"beta": 1e-9},
    "single pass": {"passes": "single"},
    "answer only": {"start": "answer-only"},
    "two steps at once": {"delta_s": 2},
    "late T": {"T": 0.9},
    "T at once": {"T": 0.1},
    "straight": {"p": 0.001},
    "steep": {"p": 3},
    "c0 zero": {"c0": 0},
    "c0 one": {"c0": 1},
}


def rationales(n: int, seed: int = 0, longest: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.gamma(2, 0.5, rng.integers(1, longest + 1)) for _ in range(n)], rng.integers(0, 5, n)


def generated(difficulties: list[np.ndarray], input_steps: np.ndarray) -> float:
    return sum(float(d[c:].sum()) for d, c in zip(difficulties, input_steps, strict=True))


def same(a: Schedule, b: Schedule) -> bool:
    return np.array_equal(a.input_steps, b.input_steps) and np.array_equal(a.selected, b.selected)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_holds_for_every_schedule(option: str) -> None:
    difficulties, clusters = rationales(400)
    config = Curriculum(epochs=10, **OPTIONS[option])
    schedule = plan(difficulties, clusters, config)
    steps = np.array([len(d) for d in difficulties])
    start = steps if config.start == "answer-only" else steps - 1
    end = int(config.T * 10)
    assert schedule.input_steps.shape == schedule.selected.shape == (10, 400)
    assert schedule.input_steps.dtype.kind == "i"
    assert (schedule.input_steps >= 0).all()
    before = np.vstack([start, schedule.input_steps[:-1]])
    assert (schedule.input_steps <= before).all()
    assert np.array_equal(schedule.selected, schedule.input_steps < before)
    assert (schedule.input_steps[end:] == 0).all()

    total = sum(float(d.sum()) for d in difficulties)
    base = max(config.c0 * total, generated(difficulties, start))
    allowed = base + (total - base) * (np.minimum(np.arange(10), end) / end) ** (config.p + 1)
    assert schedule.target == pytest.approx(allowed)
    reached = [generated(difficulties, row) for row in schedule.input_steps]
    assert schedule.reached == pytest.approx(reached)
    assert (schedule.reached <= schedule.target * (1 + 1e-6)).all()
    if config.passes == "repeat":
        assert (schedule.reached >= 0.99 * schedule.target).all()
    assert ((schedule.certificate >= 0) & (schedule.certificate < 0.5 + 1e-9)).all()
    assert (schedule.certificate[end:] == 0).all()


@pytest.mark.parametrize("option", OPTIONS)
def test_the_order_of_rows_does_not_matter(option: str) -> None:
    difficulties, clusters = rationales(150)
    config = Curriculum(epochs=10, **OPTIONS[option])
    shuffle = np.random.default_rng(1).permutation(150)
    plain = plan(difficulties, clusters, config)
    moved = plan([difficulties[i] for i in shuffle], clusters[shuffle], config)
    assert np.array_equal(moved.input_steps, plain.input_steps[:, shuffle])
    assert np.array_equal(moved.selected, plain.selected[:, shuffle])
    assert np.array_equal(moved.reached, plain.reached)


def test_equal_gains_of_different_rationales_do_not_tie_by_position() -> None:
    rng = np.random.default_rng(2)
    difficulties = [rng.integers(1, 4, rng.integers(1, 9)).astype(float) for _ in range(150)]
    keys = [tuple(d) for d in difficulties]
    clusters = np.zeros(150, int)
    shuffle = rng.permutation(150)
    for beta in (0, 12):
        plain = plan(difficulties, clusters, Curriculum(epochs=8, beta=beta))
        moved = plan([difficulties[i] for i in shuffle], clusters, Curriculum(epochs=8, beta=beta))
        for stage in range(8):  # equal rationales are interchangeable, nothing else is
            one = sorted(zip(keys, plain.input_steps[stage].tolist(), strict=True))
            other = sorted((keys[i], c) for i, c in zip(shuffle, moved.input_steps[stage].tolist(), strict=True))
            assert one == other


def test_one_seed_one_schedule() -> None:
    difficulties, clusters = rationales(200)
    for beta in (0.0, 12.0):
        first, again, other = (
            plan(difficulties, clusters, Curriculum(epochs=10, beta=beta, seed=seed)) for seed in (3, 3, 4)
        )
        assert same(first, again)
        assert same(first, other) is (beta > 0)  # without diversity a seeded order decides


def test_without_diversity_dear_steps_are_taken_as_often_as_cheap_ones() -> None:
    """With it, cheap increments come first: the order of the density is that of 1 / a within a cluster."""
    rng = np.random.default_rng(3)
    difficulties = [np.array([rng.gamma(2, 0.5), rng.gamma(2, 0.5), 0.1]) for _ in range(2000)]
    clusters = np.zeros(2000, int)
    taken = {}
    for beta in (0, 12):
        schedule = plan(difficulties, clusters, Curriculum(epochs=10, beta=beta, c0=0.2))
        first = np.flatnonzero(schedule.selected[0])
        taken[beta] = np.mean([difficulties[i][1] for i in first])
    everyone = np.mean([d[1] for d in difficulties])
    assert taken[0] == pytest.approx(everyone, rel=0.15)
    assert taken[12] < 0.7 * everyone


def test_diversity_spreads_the_selection_over_the_clusters() -> None:
    """One cluster of cheap steps would take the whole budget; the square roots share it out."""
    rng = np.random.default_rng(4)
    clusters = np.repeat([0, 1], 300)
    difficulties = [np.array([1.0, rng.uniform(1, 1.2) + k, 0.5]) for k in clusters]
    schedule = plan(difficulties, clusters, Curriculum(epochs=10, c0=0.3))
    share = schedule.selected[0][clusters == 1].sum() / schedule.selected[0].sum()
    assert 0.1 < share < 0.5


def test_a_single_pass_releases_at_most_one_increment_a_stage() -> None:
    difficulties, clusters = rationales(300)
    for width in (1, 2):
        schedule = plan(difficulties, clusters, Curriculum(epochs=12, T=0.5, passes="single", delta_s=width))
        assert (np.diff(schedule.input_steps[:6].astype(int), axis=0) >= -width).all()
        assert schedule.reached[5] < schedule.target[5]


def test_defaults_of_T() -> None:
    difficulties, clusters = rationales(30)
    assert (plan(difficulties, clusters, Curriculum(epochs=1)).input_steps == 0).all()
    for epochs in (2, 3, 7, 9, 25):
        schedule = plan(difficulties, clusters, Curriculum(epochs=epochs))
        end = max(1, epochs // 4)
        assert schedule.input_steps[end - 1].any()
        assert not schedule.input_steps[end:].any()


def test_without_T_no_step_is_ever_given() -> None:
    for epochs in (1, 5):
        assert not plan(*rationales(30), Curriculum(epochs=epochs, T=0)).input_steps.any()


def test_stage_zero_starts_from_the_answer_or_the_last_step() -> None:
    difficulties = [np.array([1.0, 1.0, 1.0]) for _ in range(10)]
    clusters = np.zeros(10, int)
    answer = plan(difficulties, clusters, Curriculum(epochs=6, start="answer-only", c0=0.1))
    assert sorted(answer.input_steps[0]) == [2] * 3 + [3] * 7
    last = plan(difficulties, clusters, Curriculum(epochs=6, c0=0.1))  # C0 below the start: nothing more is released
    assert (last.input_steps[0] == 2).all()
    assert last.target[0] == pytest.approx(10)


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_the_unit_of_difficulty_does_not_matter(scale: float) -> None:
    difficulties, clusters = rationales(200)
    plain = plan(difficulties, clusters, Curriculum(epochs=10))
    scaled = plan([d * scale for d in difficulties], clusters, Curriculum(epochs=10, beta=12 * scale))
    # The seeded order of the rows depends on their content, so only ties could differ; there are none.
    assert np.array_equal(plain.input_steps, scaled.input_steps)


@pytest.mark.parametrize("beta", [0, 12])
def test_odd_difficulties(beta: float) -> None:
    rng = np.random.default_rng(5)
    config = Curriculum(epochs=6, beta=beta)
    nothing = plan([np.zeros(3), np.zeros(1)], np.zeros(2, int), config)
    assert (nothing.target == 0).all()
    assert not nothing.input_steps[3:].any()
    mixed = [10.0 ** rng.uniform(-9, 9, rng.integers(1, 6)) for _ in range(200)]
    schedule = plan(mixed, rng.integers(0, 3, 200), config)
    assert (schedule.reached <= schedule.target * (1 + 1e-6)).all()
    assert (np.diff(schedule.input_steps.astype(int), axis=0) <= 0).all()
    some_free = [np.where(rng.random(4) < 0.5, 0.0, rng.random(4)) for _ in range(200)]
    schedule = plan(some_free, rng.integers(0, 3, 200), config)
    assert (schedule.reached >= 0.99 * schedule.target).all()
    integers = [np.array([2, 1, 3]), np.array([1])]  # any numeric type
    assert not plan(integers, np.zeros(2, int), config).input_steps[3:].any()


@pytest.mark.parametrize(
    ("difficulties", "clusters", "epochs"),
    [
        ([], [], 4),
        ([np.ones(2), np.zeros(0)], [0, 0], 4),
        ([np.array([1.0, np.nan])], [0], 4),
        ([np.array([1.0, -1.0])], [0], 4),
        ([np.ones(2)], [0, 1], 4),
        ([np.ones(2)], [0], None),
    ],
)
def test_what_cannot_be_planned_is_refused(difficulties: list, clusters: list, epochs: int | None) -> None:
    with pytest.raises(ValueError, match=r"rationale|difficulty|epochs"):
        plan(difficulties, np.array(clusters, int), Curriculum(epochs=epochs))


awkward = st.one_of(st.sampled_from([0.0, 1e-9, 0.1, 0.2, 0.3, 1.0, 7.0, 1e9]), st.floats(0, 10, width=32))
items = st.tuples(st.lists(awkward, min_size=1, max_size=5).map(tuple), st.integers(0, 3))
configs = st.builds(
    kpod_config.Curriculum,
    epochs=st.integers(1, 7),
    p=st.sampled_from([0.001, 0.5, 1.0, 3.0]),
    c0=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    T=st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.99]),
    beta=st.sampled_from([0.0, 1e-9, 12.0, 1e6]),
    solver=st.sampled_from(["structured", "ftgp", "greedy"]),
    eps=st.sampled_from([0.01, 0.05, 0.4]),
    delta_s=st.integers(1, 3),
    passes=st.sampled_from(["repeat", "single"]),
    start=st.sampled_from(["last-step", "answer-only"]),
    seed=st.integers(0, 3),
)


@settings(max_examples=300)
@given(st.lists(items, min_size=1, max_size=10), configs, st.randoms(use_true_random=False))
def test_any_schedule(chosen: list[tuple[tuple[float, ...], int]], config: kpod_config.Curriculum, random: Any) -> None:
    """Everything that is promised, for awkward difficulties and any settings; sums are exact."""
    stages, width = config.epochs or 0, config.delta_s
    end = min(stages - 1, max(1, int(config.T * stages))) if config.T else 0
    found = _planned(chosen, config)
    given_before = [len(d) - (config.start == "last-step") for d, _ in chosen]
    total = fsum(x for d, _ in chosen for x in d)
    base = max(config.c0 * total, fsum(x for (d, _), c in zip(chosen, given_before, strict=True) for x in d[c:]))
    for t, row in enumerate(found.input_steps.tolist()):
        assert all(0 <= now <= before for now, before in zip(row, given_before, strict=True))
        assert found.selected[t].tolist() == [now < before for now, before in zip(row, given_before, strict=True)]
        reached = fsum(x for (d, _), c in zip(chosen, row, strict=True) for x in d[c:])
        target = total if t >= end else base + (total - base) * (t / end) ** (config.p + 1)
        assert found.reached[t] == pytest.approx(reached, rel=1e-9)
        assert found.target[t] == pytest.approx(target, rel=1e-9)
        assert reached <= target * (1 + 1e-6)
        if t >= end:
            assert not any(row)
        elif config.passes == "repeat" or t == 0:
            # Within 1% of what is allowed, or whatever a rationale could still give up is more than is left.
            offers = [fsum(d[max(c - width, 0) : c]) for (d, _), c in zip(chosen, row, strict=True) if c]
            assert reached >= 0.99 * target or not offers or min(offers) > (target - reached) * (1 - 1e-9)
        else:
            assert all(before - now <= width for now, before in zip(row, given_before, strict=True))
        given_before = row
    assert all(0 <= gap <= (0.5 + config.eps if config.beta > 0 else 1) for gap in found.certificate)
    assert same(found, _planned(chosen, config))

    # Equal rationales are interchangeable; apart from that, every rationale keeps its way in any order of the rows.
    shuffled = random.sample(chosen, len(chosen))
    ways, others = (
        sorted(zip(rows, plan.input_steps.T.tolist(), strict=True))
        for rows, plan in ((chosen, found), (shuffled, _planned(shuffled, config)))
    )
    assert ways == others


def _planned(chosen: list[tuple[tuple[float, ...], int]], config: kpod_config.Curriculum) -> Schedule:
    return plan([np.array(d) for d, _ in chosen], np.array([k for _, k in chosen]), config)
