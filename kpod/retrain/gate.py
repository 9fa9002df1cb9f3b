"""The gate: promote the challenger, keep the champion, or hold the decision for a person."""

from dataclasses import dataclass
from typing import Literal

from kpod.config.retrain import Gate
from kpod.evaluate.compare import Comparison
from kpod.evaluate.statistics import mcnemar_exact

Action = Literal["promote", "keep", "hold"]


@dataclass(frozen=True)
class Decision:
    """A decision with its reason and figures; the figure `difference` is challenger minus champion."""

    action: Action
    reason: str
    figures: dict[str, float]


def decide(comparison: Comparison, gate: Gate) -> Decision:
    """Decide on all held-out questions together (`a` is the champion, `b` the challenger), by exact McNemar.

    promote: significantly more right answers; keep: significantly fewer, or the 95% interval excludes a worthwhile
    gain; hold: too few questions, a difference that is not significant, or one set that is significantly worse.
    """
    sets = comparison.sets
    n = sum(part.questions for part in sets)
    only_champion, only_challenger = sum(len(part.only_a) for part in sets), sum(len(part.only_b) for part in sets)
    p = mcnemar_exact(only_champion, only_challenger)
    difference = (only_challenger - only_champion) / n
    # The sets are independent: the squares of their half widths add up, weighted by size.
    half = sum((part.questions / n * (part.high - part.low) / 2) ** 2 for part in sets) ** 0.5
    figures = {
        "questions": n,
        "champion": sum(part.correct_a for part in sets) / n,
        "challenger": sum(part.correct_b for part in sets) / n,
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p_value": p,
        "only_champion": only_champion,
        "only_challenger": only_challenger,
    }
    return Decision(*_judged(comparison, gate, figures), figures)


def _judged(comparison: Comparison, gate: Gate, figures: dict[str, float]) -> tuple[Action, str]:
    n, difference, p = figures["questions"], figures["difference"], figures["p_value"]
    summary = f"{100 * difference:+.1f} points on {n} questions, p = {p:.2g}"
    worse = [
        f"{part.dataset} {part.split}"
        for part in comparison.sets
        if part.p_value < gate.alpha and part.correct_b < part.correct_a
    ]
    if n < gate.min_questions:
        return "hold", f"{summary}: fewer than {gate.min_questions} held-out questions decide nothing"
    if p < gate.alpha and difference < 0:
        return "keep", f"{summary}: the challenger is worse"
    if worse:
        return "hold", f"{summary}, but worse on {', '.join(worse)}"
    if p < gate.alpha and difference > 0:
        return "promote", f"{summary}: the challenger is better"
    if figures["high"] < gate.worthwhile:
        return "keep", f"{summary}: a gain of {100 * gate.worthwhile:.1f} points or more is ruled out"
    return "hold", f"{summary}: the difference is not significant"
