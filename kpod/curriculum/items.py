"""The rationales of `difficulty.parquet`, one item each, in the order of the questions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod import schemas
from kpod.errors import DataError
from kpod.text.groups import Keys, places_within


@dataclass(frozen=True)
class Items:
    """Rationales as columns; the `steps[i]` steps of rationale i are consecutive in the flat columns."""

    keys: Keys
    steps: np.ndarray  # int64 [n]: number of steps
    difficulty: np.ndarray  # float64 [N]: of each step, rationale after rationale
    tokens: np.ndarray  # int64 [N]: of each step

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def question_id(self) -> pa.Array:
        """The question of each rationale, string [n]."""
        return self.keys.names.take(pa.array(self.keys.code))

    def first(self, samples: int) -> "Items":
        """The first `samples` rationales of each question."""
        return self.take(np.flatnonzero(places_within(self.keys.code) < samples))

    def take(self, rows: np.ndarray) -> "Items":
        """The rationales at positions int64 [m], in this order."""
        steps = self.steps[rows]
        begin = (np.cumsum(self.steps) - self.steps)[rows]
        places = np.repeat(begin - (np.cumsum(steps) - steps), steps) + np.arange(steps.sum())
        keys = Keys(self.keys.names.take(pa.array(self.keys.code[rows])), pa.array(self.keys.sample[rows]))
        return Items(keys, steps, self.difficulty[places], self.tokens[places])

    def sums(self) -> np.ndarray:
        """Number of tokens of each rationale, int64 [n]."""
        return np.add.reduceat(self.tokens, np.cumsum(self.steps) - self.steps)


def read_items(path: Path, ids: pa.Array) -> tuple[Items, pa.Table]:
    """The usable rationales of `difficulty.parquet`, in the order of the questions `ids` and by sample, and the others
    (a table of schemas.QUARANTINE).

    A rationale is unusable if its question is unknown, if its steps are not 0, 1, ... without gap or repetition, or
    if a difficulty is negative or not finite. Raises DataError if none is usable.
    """
    table = schemas.read(path, schemas.DIFFICULTY)
    position = pc.index_in(table["question_id"], value_set=ids).fill_null(-1).to_numpy()
    all_keys = Keys(table["question_id"], table["sample"])
    sample, step = all_keys.sample, table["step"].to_numpy()
    order = np.lexsort((step, sample, all_keys.code, position))
    position, names, sample, step = position[order], all_keys.code[order], sample[order], step[order]
    value = table["difficulty"].to_numpy()[order].astype(np.float64)
    tokens = table["tokens"].to_numpy()[order].astype(np.int64)

    begin = np.flatnonzero(np.concatenate([[True], (np.diff(names) != 0) | (np.diff(sample) != 0)])[: len(order)])
    if not len(begin):
        raise DataError(f"{path} has no row: look at the quarantine of the stage difficulty")
    counts = np.diff(np.append(begin, len(order)))
    misplaced = step != np.arange(len(order)) - np.repeat(begin, counts)
    reasons = {
        "the question is not in questions.parquet": position[begin] < 0,
        "the steps are not 0, 1, 2, ...": np.logical_or.reduceat(misplaced, begin),
        "a difficulty is negative or not finite": np.logical_or.reduceat(~np.isfinite(value) | (value < 0), begin),
    }
    bad = np.logical_or.reduce(list(reasons.values()))
    quarantined = []
    for row in np.flatnonzero(bad):
        question, number = all_keys[int(order[begin[row]])]
        reason = next(text for text, mask in reasons.items() if mask[row])
        quarantined.append({"source": "difficulty", "row": f"{question}/{number}", "reason": reason})
    if bad.all():
        raise DataError(f"{path} has no usable rationale; the first: {quarantined[0]['reason']}")
    first = pa.array(order[begin])
    items = Items(Keys(table["question_id"].take(first), table["sample"].take(first)), counts, value, tokens)
    return (items.take(np.flatnonzero(~bad)) if bad.any() else items), schemas.table(quarantined, schemas.QUARANTINE)
