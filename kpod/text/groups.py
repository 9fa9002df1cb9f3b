"""The keys `(question_id, sample)` of many rows as columns, and their lookup."""

from collections.abc import Sequence
from functools import cached_property
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Key = tuple[str, int]  # question_id, sample


class Keys(Sequence[Key]):
    """The keys of a table's rows, in its order.

    `names` are the distinct question ids in the order of their first rows, `code` int32 [n] is the index of each row's
    id in `names`, `sample` is int32 [n].
    """

    def __init__(self, question_id: pa.ChunkedArray | pa.Array, sample: pa.ChunkedArray | pa.Array) -> None:
        coded = pa.chunked_array(question_id).combine_chunks().dictionary_encode()
        self.names: pa.Array = coded.dictionary
        self.code: np.ndarray = coded.indices.to_numpy()
        self.sample = np.asarray(sample, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.code)

    @overload
    def __getitem__(self, row: int) -> Key: ...

    @overload
    def __getitem__(self, row: slice | np.ndarray) -> list[Key]: ...

    def __getitem__(self, row: int | slice | np.ndarray) -> Key | list[Key]:
        if isinstance(row, slice | np.ndarray):
            words = self.names.take(pa.array(self.code[row])).to_pylist()
            return list(zip(words, self.sample[row].tolist(), strict=True))
        return self.names[int(self.code[row])].as_py(), int(self.sample[row])

    def find(self, question_id: pa.ChunkedArray | pa.Array, sample: np.ndarray) -> np.ndarray:
        """The row of each key, int64 [m]: the first of several, -1 if there is none."""
        code = pc.index_in(question_id, value_set=self.names).fill_null(-1).to_numpy().astype(np.int64)
        sample = np.asarray(sample, dtype=np.int64)
        numbers, rows, low, width = self._sorted
        inside = (code >= 0) & (sample >= low) & (sample < low + width)
        target = np.where(inside, code * width + sample - low, -1)
        place = np.minimum(np.searchsorted(numbers, target), max(len(numbers) - 1, 0))
        if not len(numbers):
            return np.full(len(code), -1)
        return np.where(inside & (numbers[place] == target), rows[place], -1)

    @cached_property
    def alphabetical(self) -> np.ndarray:
        """The codes sorted by name, int64 [names]."""
        return np.asarray(pc.sort_indices(self.names))

    @cached_property
    def rank(self) -> np.ndarray:
        """Numbers that sort the rows by question id and sample, int64 [n]; equal for equal keys."""
        _, _, low, width = self._sorted
        place = np.empty(len(self.names), dtype=np.int64)
        place[self.alphabetical] = np.arange(len(self.names))
        return place[self.code] * width + self.sample - low

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """One number for each key, ascending, the row of each, and the smallest sample and number of samples."""
        low = int(self.sample.min(initial=0))
        width = int(self.sample.max(initial=0)) - low + 1
        numbers = self.code.astype(np.int64) * width + self.sample - low
        if (numbers[1:] >= numbers[:-1]).all():
            return numbers, np.arange(len(numbers)), low, width
        rows = np.argsort(numbers, kind="stable")
        return numbers[rows], rows, low, width


def numbered(groups: np.ndarray) -> np.ndarray:
    """int64 [n]: the number of each row's group, which are counted in the order in which they first come."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number])


def places_within(groups: np.ndarray) -> np.ndarray:
    """Position of each row in its group, int64 [n]; the rows of a group (`groups`, int [n]) must be contiguous."""
    new = np.concatenate([np.ones(min(1, len(groups)), dtype=bool), groups[1:] != groups[:-1]])
    rows = np.arange(len(groups))
    return rows - np.maximum.accumulate(np.where(new, rows, 0))
