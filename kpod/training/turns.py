"""Which of a question's rationales an epoch trains on, and how many target tokens a budget allows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kpod.config import Budget


class Turns:
    """Each epoch trains on one rationale of each question, all of them in turn.

    So an epoch costs the same however many rationales a question has, and a student that is trained for as many
    tokens on several of them reads each less often.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        """`groups`: the question of each row; a question's turns follow the order of its rows."""
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        number = np.fromiter((numbers[group] for group in groups), np.int64, len(groups))
        self._rows = np.argsort(number, kind="stable")
        self._count = np.bincount(number, minlength=len(numbers))
        self._first = np.cumsum(self._count) - self._count

    def rows(self, epoch: int) -> np.ndarray:
        """Rows of `epoch`, int64 [questions], in the order in which the questions first come."""
        return self._rows[self._first + epoch % self._count]


def allowed(budget: Budget, tokens: np.ndarray, turns: Turns) -> int:
    """Target tokens that `budget` allows; 0 if it counts epochs.

    `tokens` int [n]: target tokens of each rationale, answer included, `turns` of all usable ones. Weights, a
    curriculum and `distill.samples` do not enter, so all methods of a run are allowed the same.
    """
    if budget.of is not None:
        return sum(int(tokens[turns.rows(epoch)].sum()) for epoch in range(budget.epochs or 0))
    return budget.target_tokens or 0
