"""The tokens of all rationales as flat columns: what the stage `tokens` wrote, memory-mapped, one row a rationale."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import numpy as np
import pyarrow as pa

from kpod import schemas
from kpod.text.groups import Keys

FILE = "tokens.arrow"
LISTS = ("prompt_ids", "rationale_ids", "step", "answer_ids")


@dataclass(frozen=True)
class Column:
    """A vector a row, all in one flat array: row i is `values[begin[i] : begin[i] + size[i]]`."""

    values: np.ndarray  # [N]
    begin: np.ndarray  # int64 [n]
    size: np.ndarray  # int64 [n]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray], dtype: Any = np.int32) -> "Column":
        """A column of vectors that are in memory."""
        size = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.concatenate([np.zeros(0, dtype), *rows]).astype(dtype, copy=False)
        return cls(values, np.cumsum(size) - size, size)

    def __getitem__(self, row: int) -> np.ndarray:
        """The vector of a row, a view."""
        begin = self.begin[row]
        return self.values[begin : begin + self.size[row]]

    def take(self, rows: np.ndarray) -> "Column":
        """The column of some rows, of the same values."""
        return Column(self.values, self.begin[rows], self.size[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the values of some rows stand in `values`, int64, row after row."""
        size = self.size[rows]
        ends = np.cumsum(size)
        return np.repeat(self.begin[rows] - (ends - size), size) + np.arange(ends[-1] if len(ends) else 0)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """The values of some rows, row after row."""
        return np.asarray(self.values[self.places(rows)])


class Tokens:
    """Rows of `schemas.TOKENS`: the key and the tokens of each rationale; see `Tokens.read`."""

    def __init__(self, table: pa.Table, whole: pa.Buffer | None = None) -> None:
        """`whole`: the mapped file that the columns of `table` lie in; None for a table in memory."""
        table = table if whole else table.combine_chunks()
        self.keys = Keys(table["question_id"], table["sample"])
        self.steps, self.visible = (table[name].to_numpy() for name in ("steps", "visible"))
        self.prompt, self.rationale, self.step, self.answer = (_column(table[name], whole) for name in LISTS)

    @classmethod
    def read(cls, folder: Path) -> "Tokens":
        """The tokens in the folder of the stage `tokens`, memory-mapped. Raises DataError if they cannot be read."""
        whole, table = schemas.mapped(folder / FILE, schemas.TOKENS)
        return cls(table, whole)

    @classmethod
    def of(cls, batches: Iterable[Mapping[str, Any]]) -> "Tokens":
        """Tokens in memory, from the columns of some rows each."""
        empty = schemas.TOKENS.empty_table()
        return cls(pa.concat_tables([empty, *(schemas.table(columns, schemas.TOKENS) for columns in batches)]))

    def replaced(self, rationale: Column, step: Column) -> "Tokens":
        """The same rows with other tokens in their rationales."""
        other = copy(self)
        other.rationale, other.step = rationale, step
        return other

    def __len__(self) -> int:
        return len(self.keys)


Row = TypeVar("Row")


class TokenRows(Sequence[Row]):
    """Some rows of a table of tokens, each made an object at the moment it is asked for.

    `rows` int64 [n] are row numbers of `tokens`.
    """

    def __init__(self, tokens: Tokens, rows: np.ndarray) -> None:
        self.tokens, self.rows = tokens, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Self: ...

    def __getitem__(self, place: int | slice) -> Row | Self:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self.row(int(self.rows[place]))

    def take(self, places: np.ndarray) -> Self:
        """The rows at some places, int [m] or bool [n]."""
        chosen = copy(self)
        chosen.rows = self.rows[places]
        return chosen

    @abstractmethod
    def row(self, number: int) -> Row:
        """The object of row `number` of `tokens`."""


def list_array(values: np.ndarray, size: np.ndarray) -> pa.ListArray:
    """A column of a file: vectors that follow each other in `values`, row i having `size[i]` of them."""
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def _column(chunks: pa.ChunkedArray, whole: pa.Buffer | None) -> Column:
    """The flat array is the whole file if the chunks lie in one, so that chunks are not copied together."""
    begins, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    values = np.zeros(0, np.int32)
    if whole:
        values = np.frombuffer(whole, np.int32, whole.size // 4)
    for chunk in chunks.chunks:
        offsets, start = chunk.offsets.to_numpy().astype(np.int64), chunk.values.offset
        data = chunk.values.buffers()[1]
        if whole and data is not None:
            start += (data.address - whole.address) // 4
        elif not whole:
            values = chunk.values.to_numpy()
            start = 0
        begins.append(offsets[:-1] + start)
        sizes.append(np.diff(offsets))
    return Column(values, np.concatenate(begins), np.concatenate(sizes))
