"""Settings compared over the seeds that both have: columns of the tables of recipe_search.py and demo_world.py.

The answers of a setting are, by seed, whether each is right; with the same seed, answers at the same place are to the
same question.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kpod.evaluate.statistics import holm
from kpod.report.render import p_value
from kpod.sweep.statistics import difference_interval, paired_p

Answers = Mapping[int, Sequence[int]]

COLUMNS = ["95%", "p", "p (Holm)"]  # behind the difference
ABOUT = (
    "Differences, in points, are over the seeds that both have; their 95% intervals resample seeds and questions.\n"
    "*p*: a sign-flip permutation test over questions with the seeds as they are. It holds for these students, not\n"
    "for others with the same settings. *p (Holm)* is corrected for the comparisons of its table."
)


def cells(pairs: Sequence[tuple[Answers, Answers] | None]) -> list[list[str]]:
    """For each pair (a setting, what it is compared with) the difference and COLUMNS.

    They are empty for None and for a pair without a common seed.
    """
    found = [_compared(*pair) if pair else None for pair in pairs]
    corrected = iter(holm([p for _, p in filter(None, found)]))
    return [[*one[0], p_value(one[1]), p_value(next(corrected))] if one else [""] * 4 for one in found]


def _compared(setting: Answers, other: Answers) -> tuple[list[str], float] | None:
    seeds = sorted(setting.keys() & other.keys())
    if not seeds:
        return None
    a, b = (np.array([answers[seed] for seed in seeds], dtype=bool) for answers in (other, setting))
    points = 100 * (int(b.sum()) - int(a.sum())) / a.size
    low, high = difference_interval(a, b)
    return [f"{points:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"], paired_p(a, b)
