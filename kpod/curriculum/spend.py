"""The number of stages for a budget in target tokens."""

from collections.abc import Callable

import numpy as np

from kpod.curriculum.items import Items
from kpod.curriculum.schedule import Schedule
from kpod.errors import DataError
from kpod.text.table import Tokens
from kpod.training.turns import Turns


def answer_tokens(items: Items, tokens: Tokens) -> np.ndarray:
    """Target tokens of the answer term (closing words, gold answer, EOS) of each rationale, int64 [n].

    Raises DataError if a rationale was not tokenised.
    """
    rows = tokens.keys.find(items.question_id, items.keys.sample)
    if (rows < 0).any():
        raise DataError("difficulty.parquet has rationales that were not tokenised: rerun the stage difficulty")
    return tokens.answer.size[rows]


def lengths(items: Items, answers: np.ndarray) -> tuple[np.ndarray, Turns]:
    """Target tokens of each whole rationale with its answer term, int64 [n], and the order of training on them."""
    return items.sums() + answers, Turns(items.keys.code)


def target_tokens(schedule: Schedule, items: Items, answers: np.ndarray, turns: Turns) -> int:
    """Target tokens of a distillation with one epoch a stage; `answers`: those of the answer terms, int64 [n]."""
    before = np.concatenate([[0], np.cumsum(items.tokens)])
    first = np.cumsum(items.steps) - items.steps
    total = 0
    for stage, input_steps in enumerate(schedule.input_steps):
        rows = turns.rows(stage)
        rationales = before[first[rows] + items.steps[rows]] - before[first[rows] + input_steps[rows]]
        total += int((rationales + answers[rows]).sum())
    return total


def fewest_stages(make: Callable[[int], Schedule], limit: int, items: Items, answers: np.ndarray) -> Schedule:
    """The first schedule `make(stages)` whose target tokens reach `limit`, starting from the fewest possible stages."""
    whole, turns = lengths(items, answers)
    epoch = max(int(whole[turns.rows(turn)].sum()) for turn in range(int(items.keys.sample.max()) + 1))
    stages = max(1, -(-limit // epoch))
    while True:
        schedule = make(stages)
        missing = limit - target_tokens(schedule, items, answers, turns)
        if missing <= 0:
            return schedule
        stages += max(1, missing // epoch)
