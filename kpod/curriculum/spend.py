"""The number of stages for a budget in target tokens."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod.config.prompt import Form
from kpod.curriculum.items import Items
from kpod.curriculum.schedule import Schedule
from kpod.training.turns import Turns


def answer_tokens(items: Items, questions: pa.Table, student: Path, form: Form) -> np.ndarray:
    """Target tokens of the answer term (closing words, gold answer, EOS) of each rationale, int64 [n]."""
    from transformers import AutoTokenizer

    from kpod.text.formats import resolve

    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    shown = resolve(tokenizer, form)
    ids = items.question_id.unique()
    rows = pc.index_in(ids, value_set=questions["id"].combine_chunks())
    lengths = np.array([len(shown.answer_ids(tokenizer, one)) for one in questions["answer"].take(rows).to_pylist()])
    return lengths[pc.index_in(items.question_id, value_set=ids).to_numpy()]


def lengths(items: Items, answers: np.ndarray) -> tuple[np.ndarray, Turns]:
    """Target tokens of each whole rationale with its answer, int64 [n], and the turns of all."""
    return np.array([int(tokens.sum()) for tokens in items.tokens]) + answers, Turns(items.question_id.to_pylist())


def target_tokens(schedule: Schedule, items: Items, answers: np.ndarray, turns: Turns) -> int:
    """Target tokens of a distillation with one epoch for each stage of the schedule."""
    sizes = np.fromiter(map(len, items.tokens), np.int64, len(items.tokens))
    before = np.concatenate([[0], np.cumsum(np.concatenate(items.tokens))])
    first = np.cumsum(sizes) - sizes
    total = 0
    for stage, input_steps in enumerate(schedule.input_steps):
        rows = turns.rows(stage)
        rationales = before[first[rows] + sizes[rows]] - before[first[rows] + input_steps[rows]]
        total += int((rationales + answers[rows]).sum())
    return total


def fewest_stages(make: Callable[[int], Schedule], limit: int, items: Items, answers: np.ndarray) -> Schedule:
    """The schedule `make(stages)` with the fewest stages whose target tokens reach `limit`."""
    whole, turns = lengths(items, answers)
    epoch = max(int(whole[turns.rows(turn)].sum()) for turn in range(int(items.sample.max()) + 1))
    stages = max(1, -(-limit // epoch))
    while True:
        schedule = make(stages)
        missing = limit - target_tokens(schedule, items, answers, turns)
        if missing <= 0:
            return schedule
        stages += max(1, missing // epoch)
