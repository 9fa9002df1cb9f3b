"""The rationales that an epoch trains on, and the target tokens that a budget allows."""

import numpy as np

from kpod.config import Budget
from kpod.text.groups import numbered


class Turns:
    """Each epoch trains on one rationale of each question, in turn.

    So the cost of an epoch does not depend on the number of rationales a question.
    """

    def __init__(self, groups: np.ndarray) -> None:
        """`groups` [n]: the question of each row; a question's turns follow the order of its rows."""
        number = numbered(groups)
        self._rows = np.argsort(number, kind="stable")
        self._count = np.bincount(number)
        self._first = np.cumsum(self._count) - self._count

    def rows(self, epoch: int) -> np.ndarray:
        """Row numbers of `epoch`, int64 [questions], in the order of the questions' first rows."""
        return self._rows[self._first + epoch % self._count]


def allowed(budget: Budget, tokens: np.ndarray, turns: Turns) -> int:
    """Target tokens that `budget` allows; 0 if it counts epochs.

    `tokens` int [n]: target tokens of each usable rationale with its answer; `turns`: of these rationales. The result
    does not depend on weights, curriculum and `distill.samples`, so that all methods of a run have the same budget.
    """
    if budget.of is not None:
        return sum(int(tokens[turns.rows(epoch)].sum()) for epoch in range(budget.epochs or 0))
    return budget.target_tokens or 0
