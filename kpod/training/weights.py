"""Token weights of the stage `weights`, and the steps that they leave out."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from kpod import schemas
from kpod.errors import DataError
from kpod.text.table import Column, Tokens
from kpod.training.examples import Examples, reject

_ROWS = 16_384  # rationales whose weights are read at a time


def read_weights(folder: Path, tokens: Tokens) -> tuple[Column, dict[int, str]]:
    """The weights in `weights.parquet`, float32, as a column with a row for each row of `tokens`.

    Also returns the rows without usable weights: row number -> reason. Raises DataError if the weights belong to other
    token ids.
    """
    size = tokens.rationale.size
    column = Column(np.zeros(int(size.sum()), dtype=np.float32), np.cumsum(size) - size, size)
    path, seen = folder / "weights.parquet", np.zeros(len(tokens), dtype=bool)
    reasons = {}
    for batch in schemas.batches(path, schemas.WEIGHTS, ("question_id", "sample", "token_ids", "weight"), _ROWS):
        rows = tokens.keys.find(batch["question_id"], batch["sample"].to_numpy())
        if (rows < 0).any():
            batch = batch.filter(pa.array(rows >= 0))
            rows = rows[rows >= 0]
        ids, weight = (batch[name].combine_chunks() for name in ("token_ids", "weight"))
        lengths, values = ids.value_lengths().to_numpy(), weight.flatten().to_numpy()
        same = np.array_equal(lengths, size[rows]) and np.array_equal(weight.value_lengths().to_numpy(), lengths)
        if not same or not np.array_equal(ids.flatten().to_numpy(), tokens.rationale.flat(rows)):
            row = next(r for r, own in zip(rows, ids.to_pylist(), strict=True) if tokens.rationale[r].tolist() != own)
            raise DataError(
                f"{path.name}, row {tokens.keys[row]}: other token ids than the student's; rerun the stage weights"
            )
        broken = ~np.isfinite(values) | (values < 0)
        column.values[column.places(rows)] = np.where(broken, 0, values)
        seen[rows] = True
        for place in np.unique(np.repeat(rows, lengths)[broken]).tolist():
            reasons[place] = "a weight is negative or not finite"
    return column, reasons | dict.fromkeys(np.flatnonzero(~seen).tolist(), "not in weights.parquet")


def weighted(
    examples: Examples,
    weights: tuple[Column, dict[int, str]],
    floor: float = 0.0,
    scale: Literal["raw", "mean1"] = "raw",
) -> tuple[Examples, list[dict[str, str]]]:
    """The examples with `weights` on their rationales, and rows of `schemas.QUARANTINE` for those without.

    `weights`: the result of `read_weights`. `floor` f changes w to f + (1 - f) w; `mean1` then scales each rationale's
    weights to mean 1. The answer's tokens keep weight 1.
    """
    column, reasons = weights
    has = ~np.isin(examples.rows, np.fromiter(reasons, np.int64, len(reasons)))
    rejected = [reject(examples.key(i), reasons[int(examples.rows[i])]) for i in np.flatnonzero(~has).tolist()]
    values = column.values
    if floor:
        values = floor + (1 - floor) * values
    if scale == "mean1":
        ends = np.cumsum(column.size)
        sums = np.diff(np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])[np.append(0, ends)])
        values = values * np.repeat(np.where(sums > 0, column.size / np.maximum(sums, 1e-300), 1.0), column.size)
    changed = Column(values.astype(np.float32, copy=False), column.begin, column.size)
    return Examples(examples.tokens, examples.rows[has], changed), rejected


def pruned(examples: Examples, weights: Column, least: float) -> Examples:
    """The examples without the steps that have no keypoint; a rationale without any keypoint stays whole.

    A keypoint is a token whose mean weight over all its occurrences in `examples` is at least `least`: single weights
    can miss the first steps of a rationale, because the answer can be predicted from the last one. `weights`: a row for
    each row of the table of tokens. Steps keep their numbers, so that a curriculum still fits.
    """
    if least <= 0:
        return examples
    tokens, rows = examples.tokens, np.arange(len(examples.tokens))
    row = np.repeat(rows, weights.size)
    ids, weighed = tokens.rationale.flat(rows), np.isin(rows, examples.rows)[row]
    count = np.bincount(ids, weighed)
    mean = np.bincount(ids, weights.values * weighed) / np.maximum(count, 1)
    step = tokens.step.flat(rows) + np.repeat(np.cumsum(tokens.steps) - tokens.steps, weights.size)
    highest = np.zeros(int(tokens.steps.sum()))
    np.maximum.at(highest, step, mean[ids])
    kept = highest[step] >= least
    kept |= (np.bincount(row, kept, len(rows)) == 0)[row]
    size = np.bincount(row, kept, len(rows)).astype(np.int64)

    def rest(values: np.ndarray) -> Column:
        return Column(values[kept], np.cumsum(size) - size, size)

    shorter = tokens.replaced(rest(tokens.rationale.flat(rows)), rest(tokens.step.flat(rows)))
    return Examples(shorter, examples.rows, None if examples.weight is None else rest(examples.weight.values))
