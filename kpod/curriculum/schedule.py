"""The schedule of a distillation (Eq. 9-13). It depends on the difficulties only, so it is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kpod.config import Curriculum
from kpod.curriculum.instance import fill
from kpod.curriculum.solvers import solve


@dataclass(frozen=True)
class Schedule:
    """One row a stage (epoch), one column a rationale in the caller's order."""

    input_steps: (
        np.ndarray
    )  # int32 [stages, n]: c_i(t), number of steps given as input; the student generates the others
    selected: np.ndarray  # bool [stages, n]: gave up input steps at this stage
    target: np.ndarray  # float64 [stages]: D(t), the difficulty allowed
    reached: np.ndarray  # float64 [stages]: H(t), the difficulty of what is generated
    certificate: np.ndarray  # float64 [stages]: largest share of its bound that the stage's first selection can miss


def plan(difficulties: Sequence[np.ndarray], clusters: np.ndarray, config: Curriculum) -> Schedule:
    """Decide for every stage how many steps of each rationale are input (Eq. 9-13).

    `difficulties`: one float vector a rationale, a value >= 0 a step (Eq. 8), at least one step; `clusters`: int [n].
    Stages are t = 0 .. config.epochs - 1; all is generated from stage `config.T * config.epochs` on (rounded down, at
    least 1 unless T is 0, at most the last). D(t) grows from C0 = max(c0 * B, H at the start) to B there (Eq. 9-10).
    Stage 0 starts from the last step alone (`last-step`) or from nothing (`answer-only`) and selects until C0 is spent;
    later stages select once (`single`) or until their increment is spent (`repeat`). The order of the rationales does
    not matter: equal inputs get equal schedules.
    Raises ValueError if a rationale has no step or a difficulty is negative or not finite.
    """
    flat = np.concatenate([np.zeros(0), *difficulties]).astype(np.float64)
    return plan_flat(flat, np.fromiter(map(len, difficulties), np.int64, len(difficulties)), clusters, config)


def plan_flat(flat: np.ndarray, steps: np.ndarray, clusters: np.ndarray, config: Curriculum) -> Schedule:
    """`plan` for the difficulties of all steps in one vector, `steps` int64 [n] of them a rationale."""
    clusters = np.asarray(clusters)
    if clusters.shape != steps.shape:
        raise ValueError(f"{len(steps)} rationales but clusters of shape {clusters.shape}")
    if not len(steps) or (steps == 0).any():
        raise ValueError("every rationale needs at least one step, and there must be one rationale")
    if not np.isfinite(flat).all() or (flat < 0).any():
        raise ValueError("every difficulty must be finite and at least 0")
    if config.epochs is None:
        raise ValueError("config.epochs is not set: it is the number of stages")

    begin = np.cumsum(steps) - steps
    tickets = _random_keys(flat, steps, begin, clusters, config.seed)
    order = np.argsort(tickets, kind="stable")
    state = _State(flat, begin[order], steps[order], clusters[order], tickets[order], config)
    return in_caller_order(_stages(state, config, config.epochs), order)


class _State:
    """Input steps and generated difficulty of every rationale; the order of rows depends on their content only."""

    def __init__(
        self,
        flat: np.ndarray,
        begin: np.ndarray,
        steps: np.ndarray,
        clusters: np.ndarray,
        tickets: np.ndarray,
        config: Curriculum,
    ) -> None:
        self.flat, self.begin, self.clusters, self.tickets, self.config = flat, begin, clusters, tickets, config
        self.draws = 0
        self.input_steps = steps.astype(np.int32)
        self.generated = np.zeros(len(steps))  # difficulty of the generated steps, h_i
        self.whole = self.released(np.arange(len(steps)), int(steps.max()))
        if config.start == "last-step":
            self.release(np.arange(len(steps)), 1)

    def released(self, rows: np.ndarray, count: int) -> np.ndarray:
        """a_i: difficulty that each row adds by giving up its next `count` steps, last step first."""
        result = np.zeros(len(rows))
        for back in range(1, count + 1):
            there = self.input_steps[rows] >= back
            result[there] += self.flat[(self.begin[rows] + self.input_steps[rows] - back)[there]]
        return result

    def release(self, rows: np.ndarray, count: int) -> None:
        self.generated[rows] += self.released(rows, count)
        self.input_steps[rows] = np.maximum(self.input_steps[rows] - count, 0)

    def advance(self, target: float, once: bool) -> float:
        """Select until the difficulty reaches `target` or nothing fits; returns the first selection's gap."""
        first = None
        while True:
            increment = target - float(self.generated.sum())
            if increment <= 0:
                break
            limit = increment * (1 + 1e-9)
            rows = np.flatnonzero(self.input_steps > 0)
            gain = self.released(rows, self.config.delta_s)
            rows, gain = rows[gain <= limit], gain[gain <= limit]
            if not len(rows):
                break
            chosen, gap = self._select(rows, gain, limit)
            first = gap if first is None else first
            if not len(chosen):
                break
            self.release(rows[chosen], self.config.delta_s)
            if once:
                break
        return first or 0.0

    def _select(self, rows: np.ndarray, gain: np.ndarray, budget: float) -> tuple[np.ndarray, float]:
        if self.config.beta > 0:
            selection = solve(gain, self.clusters[rows], self.config.beta, budget, self.config.solver, self.config.eps)
            return selection.indices, selection.gap
        # Without the diversity term every full knapsack ties: a seeded random order decides, a new one each time.
        self.draws += 1
        order = np.argsort(_splitmix64(self.tickets[rows] + np.uint64(self.draws)), kind="stable")
        chosen = order[fill(gain[order], budget)]
        bound = min(budget, float(gain.sum()))
        return chosen, max(0.0, 1 - float(gain[chosen].sum()) / bound) if bound > 0 else 0.0


def _stages(state: _State, config: Curriculum, epochs: int) -> Schedule:
    """Run the state through all stages."""
    n = len(state.input_steps)
    end = min(epochs - 1, max(1, int(config.T * epochs + 1e-9))) if config.T else 0
    total, initial = float(state.whole.sum()), float(state.generated.sum())
    base = max(config.c0 * total, initial)
    input_steps = np.zeros((epochs, n), dtype=np.int32)
    selected = np.zeros((epochs, n), dtype=bool)
    target, reached, certificate = np.full(epochs, total), np.full(epochs, total), np.zeros(epochs)
    for t in range(epochs):
        before = state.input_steps.copy()
        if t < end:
            target[t] = base + (total - base) * (t / end) ** (config.p + 1)
            certificate[t] = state.advance(target[t], once=t > 0 and config.passes == "single")
            reached[t] = state.generated.sum()
        else:
            state.input_steps[:] = 0
        input_steps[t] = state.input_steps
        selected[t] = state.input_steps < before
    return Schedule(input_steps, selected, target, reached, certificate)


def _random_keys(flat: np.ndarray, steps: np.ndarray, begin: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    """A pseudo-random number (uint64) a rationale from its content and the seed, never from its position.

    Sorting by it makes the schedule independent of the order of the rows, and is the seeded random order of beta = 0.
    """
    position = np.arange(len(flat)) - np.repeat(begin, steps)
    bits = (flat + 0.0).view(np.uint64)  # + 0.0: the two zeros are one number
    mixed = _splitmix64(bits ^ _splitmix64(position.astype(np.uint64)))
    rows = np.add.reduceat(mixed, begin)  # integer arithmetic modulo 2^64, so the order of the sum does not matter
    salt = _splitmix64(clusters.astype(np.int64).view(np.uint64)) + _splitmix64(
        np.asarray([seed], dtype=np.int64).view(np.uint64)
    )
    return _splitmix64(rows ^ salt)


def _splitmix64(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that scatters neighbours (the finaliser of splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def in_caller_order(schedule: Schedule, order: np.ndarray) -> Schedule:
    """The schedule of rationales that were planned in the order `order`, int64 [n], with its columns put back."""
    input_steps, selected = np.empty_like(schedule.input_steps), np.empty_like(schedule.selected)
    input_steps[:, order] = schedule.input_steps
    selected[:, order] = schedule.selected
    return replace(schedule, input_steps=input_steps, selected=selected)
