"""The rationales of `difficulty.parquet`, one item each, in the order of the questions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod import schemas
from kpod.errors import DataError


@dataclass(frozen=True)
class Items:
    """Column by column; row i is one rationale."""

    question_id: pa.Array  # string
    sample: np.ndarray  # int32 [n]
    difficulties: list[np.ndarray]  # float64 vectors, one value a step
    tokens: list[np.ndarray]  # int64 vectors, one number a step

    def first(self, samples: int) -> "Items":
        """The items of the first `samples` rationales of each question."""
        question, rows = self.question_id.dictionary_encode().indices.to_numpy(), np.arange(len(self.sample))
        begin = np.maximum.accumulate(np.where(np.diff(question, prepend=-1) != 0, rows, 0))
        chosen = np.flatnonzero(rows - begin < samples)
        difficulties, tokens = ([column[row] for row in chosen] for column in (self.difficulties, self.tokens))
        return Items(self.question_id.take(pa.array(chosen)), self.sample[chosen], difficulties, tokens)


def read_items(path: Path, questions: pa.Table) -> tuple[Items, pa.Table]:
    """The usable rationales, sorted by question order and sample, and the rest (schemas.QUARANTINE).

    A rationale is unusable if its question is unknown, if its steps are not 0, 1, ... without gap or repetition, or
    if a difficulty is negative or not finite. Raises DataError if none is usable.
    """
    found = schemas.read(path, schemas.DIFFICULTY).combine_chunks()
    ids = questions["id"].combine_chunks()
    position = pc.index_in(found["question_id"], value_set=ids).fill_null(-1).to_numpy()
    names = found["question_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    sample, step = found["sample"].to_numpy(), found["step"].to_numpy()
    order = np.lexsort((step, sample, names, position))
    position, names, sample, step = position[order], names[order], sample[order], step[order]
    value = found["difficulty"].to_numpy()[order].astype(np.float64)
    tokens = found["tokens"].to_numpy()[order].astype(np.int64)

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
        name = f"{found['question_id'][int(order[begin[row]])].as_py()}/{sample[begin[row]]}"
        reason = next(text for text, mask in reasons.items() if mask[row])
        quarantined.append({"source": "difficulty", "row": name, "reason": reason})
    if bad.all():
        raise DataError(f"{path} has no usable rationale; the first: {quarantined[0]['reason']}")
    good = np.flatnonzero(~bad)
    cut = [np.split(column, begin[1:]) for column in (value, tokens)]
    difficulties, counted = ([column[row] for row in good] for column in cut)
    items = Items(
        question_id=found["question_id"].combine_chunks().take(pa.array(order[begin[good]])),
        sample=sample[begin[good]].astype(np.int32),
        difficulties=difficulties,
        tokens=counted,
    )
    return items, schemas.table(quarantined, schemas.QUARANTINE)
