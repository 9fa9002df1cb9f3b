"""Token weights of the stage `weights`, and the steps that they leave out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from kpod import schemas
from kpod.config import Distill, collapsed
from kpod.errors import DataError
from kpod.text.table import Column, Tokens
from kpod.training.examples import Examples, reject

LEAST = 0.03  # mean weight of a keypoint, however few there are
_ROWS = 4096  # rationales whose weights are read at a time


@dataclass(frozen=True)
class Weighed:
    """Examples with the weights of Eq. 15 and without steps that have no keypoint."""

    examples: Examples
    rejected: list[dict[str, str]]  # rows of schemas.QUARANTINE
    left_out: float = 0.0  # share of the target tokens, in the steps that are left out
    why_none: str | None = None  # if the weights leave out no step


def weigh(examples: Examples, config: Distill, folder: Path) -> Weighed:
    """The examples with the weights of the stage `weights` in `folder`, without steps that have no keypoint.

    If the weights have collapsed, all are 1; if more than half of the target tokens would go, all steps stay.
    """
    weights = read_weights(folder, examples.tokens)
    weighed, rejected = weighted(examples, weights, config.weight_floor, config.weight_scale)
    if not weighed:
        return Weighed(weighed, rejected)
    mean = Examples(weighed.tokens, weighed.rows, weights[0]).mean_weight()
    if collapsed(mean):
        why = (
            f"the mean token weight is {mean:.3f}, so the weights carry no information: all tokens weigh 1, as in"
            " kpod-wo-sig; see weights.alpha"
        )
        return Weighed(Examples(weighed.tokens, weighed.rows), rejected, why_none=why)
    shorter = pruned(weighed, weights[0], config.keypoints)
    left_out = 1 - float(shorter.targets.sum() / weighed.targets.sum())
    if left_out > 0.5:
        why = "weights would leave out more than half of the target tokens, so no step is left out"
        return Weighed(weighed, rejected, why_none=why)
    return Weighed(shorter, rejected, left_out)


def read_weights(folder: Path, tokens: Tokens) -> tuple[Column, dict[int, str]]:
    """The weights in `weights.parquet`, float32, as a column with a row for each row of `tokens`.

    Also returns the rows without usable weights: row number -> reason. Raises DataError if the weights belong to other
    token ids.
    """
    size = tokens.rationale.size
    column = Column.zeros(size, np.float32)
    path, seen = folder / "weights.parquet", np.zeros(len(tokens), dtype=bool)
    reasons: dict[int, str] = {}
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
        column.put(rows, np.where(broken, 0, values))
        seen[rows] = True
        if broken.any():
            lost = np.unique(np.repeat(rows, lengths)[broken])
            reasons |= dict.fromkeys(lost.tolist(), "a weight is negative or not finite")
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
    if floor or scale == "mean1":
        column = _scaled(column, floor, scale)
    return Examples(examples.tokens, examples.rows[has], column), rejected


def _scaled(column: Column, floor: float, scale: Literal["raw", "mean1"]) -> Column:
    values = np.empty(len(column.values), dtype=np.float32)
    for at in range(0, len(column.size), _ROWS):
        size = column.size[at : at + _ROWS]
        place = slice(column.begin[at], column.begin[at] + size.sum())
        part = floor + (1 - floor) * column.values[place]
        if scale == "mean1":
            row = np.repeat(np.arange(len(size)), size)
            sums = np.bincount(row, part, len(size))
            part = part * np.where(sums > 0, size / np.maximum(sums, 1e-300), 1.0)[row]
        values[place] = part
    return Column(values, column.begin, column.size)


def pruned(examples: Examples, weights: Column, share: float) -> Examples:
    """The examples without the steps that have no keypoint (see `keypoints`); a rationale without any stays whole.

    `weights`: a row for each row of the table of tokens. Steps keep their numbers, so that a curriculum still fits.
    """
    if share <= 0:
        return examples
    tokens, kept = examples.tokens, []
    size = np.zeros(len(tokens), dtype=np.int64)
    keypoint = keypoints(((tokens.rationale.flat(p.rows), weights.flat(p.rows)) for p in examples.parts()), share)
    for part in examples.parts():
        rows, steps = part.rows, tokens.steps[part.rows]
        row = np.repeat(np.arange(len(rows)), tokens.rationale.size[rows])
        step = tokens.step.flat(rows) + (np.cumsum(steps) - steps)[row]
        stays = np.bincount(step, keypoint[tokens.rationale.flat(rows)])[step] > 0
        stays |= (np.bincount(row, stays, len(rows)) == 0)[row]
        size[rows] = np.bincount(row, stays, len(rows))
        kept.append(stays)
    if all(stays.all() for stays in kept):
        return examples

    def rest(column: Column) -> Column:
        found = Column.zeros(size, column.values.dtype)
        for part, stays in zip(examples.parts(), kept, strict=True):
            found.put(part.rows, column.flat(part.rows)[stays])
        return found

    shorter = tokens.replaced(rationale=rest(tokens.rationale), step=rest(tokens.step))
    return Examples(shorter, examples.rows, None if examples.weight is None else rest(examples.weight))


def keypoints(parts: Iterable[tuple[np.ndarray, np.ndarray]], share: float) -> np.ndarray:
    """Which tokens of the vocabulary are keypoints: the heaviest ones that make up `share` of all tokens, bool [V].

    `parts`: token ids, int [n], and their weights, float [n], of some rationales each. A token is as heavy as the mean
    of its weights over all its occurrences: single weights can miss the first steps of a rationale, because the answer
    can be predicted from the last one. The order of the means decides, because their size depends on `weights.alpha`
    and the length of training: after little of it all are near 1. A mean below LEAST is no keypoint in any case.
    Equally heavy tokens are keypoints together. V: the highest id, plus 1.
    """
    count, total = np.zeros(0, np.int64), np.zeros(0)
    for ids, weights in parts:
        more = np.bincount(ids, minlength=len(count)), np.bincount(ids, weights, len(count))
        missing = (0, len(more[0]) - len(count))
        count, total = np.pad(count, missing) + more[0], np.pad(total, missing) + more[1]
    mean = np.round(total / np.maximum(count, 1), 6)  # sums of equal float32 weights differ in their last digits
    order = np.argsort(-mean, kind="stable")
    reached = np.cumsum(count[order])
    least = mean[order[np.searchsorted(reached, share * reached[-1])]]
    keypoint: np.ndarray = mean >= max(least, LEAST)
    return keypoint
