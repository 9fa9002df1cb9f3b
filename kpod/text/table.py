"""The tokens of all rationales as flat columns, memory-mapped from the file of the stage `tokens`."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import numpy as np
import pyarrow as pa

from kpod import schemas
from kpod.text.groups import Key, Keys

FILE = "tokens.arrow"
_ROWS = 4096  # rows whose tokens are copied at one time
LISTS = ("prompt_ids", "rationale_ids", "step", "answer_ids")


@dataclass(frozen=True)
class Column:
    """A vector for each row, in one flat array: row i is `values[begin[i] : begin[i] + size[i]]`."""

    values: np.ndarray  # [N]
    begin: np.ndarray  # int64 [n]
    size: np.ndarray  # int64 [n]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray], dtype: Any = np.int32) -> "Column":
        """A column from vectors in memory."""
        size = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.concatenate([np.zeros(0, dtype), *rows]).astype(dtype, copy=False)
        return cls(values, np.cumsum(size) - size, size)

    @classmethod
    def zeros(cls, size: np.ndarray, dtype: Any) -> "Column":
        """A column of zeros with vectors of the lengths `size`, int64 [n]."""
        return cls(np.zeros(int(size.sum()), dtype), np.cumsum(size) - size, size)

    def __getitem__(self, row: int) -> np.ndarray:
        """The vector of a row, a view."""
        begin = self.begin[row]
        return self.values[begin : begin + self.size[row]]

    def take(self, rows: np.ndarray) -> "Column":
        """The column of the rows int [m]; `values` is shared."""
        return Column(self.values, self.begin[rows], self.size[rows])

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """The elements of the rows int [m], row after row."""
        return np.concatenate([self.values[:0], *(self.values[part] for part in self._slices(rows))])

    def put(self, rows: np.ndarray, flat: np.ndarray) -> None:
        """Set the elements of the rows int [m], given row after row."""
        at = 0
        for part in self._slices(rows):
            self.values[part] = flat[at : at + part.stop - part.start]
            at += part.stop - part.start

    def _slices(self, rows: np.ndarray) -> Iterator[slice]:
        """Where the elements of the rows int [m] are in `values`; adjacent rows share a slice."""
        begin, end = self.begin[rows], self.begin[rows] + self.size[rows]
        gap, edge = begin[1:] != end[:-1], np.ones(min(1, len(rows)), dtype=bool)
        starts, stops = begin[np.append(edge, gap)], end[np.append(gap, edge)]
        return map(slice, starts.tolist(), stops.tolist())


class Tokens:
    """The columns of `schemas.TOKENS`, one row for each rationale; see `Tokens.read`."""

    def __init__(self, table: pa.Table, buffer: pa.Buffer | None = None) -> None:
        """`buffer`: the mapped file that holds the columns of `table`; None for a table in memory."""
        table = table if buffer else table.combine_chunks()
        self.keys = Keys(table["question_id"], table["sample"])
        self.steps, self.visible = (table[name].to_numpy() for name in ("steps", "visible"))
        self.prompt, self.rationale, self.step, self.answer = (_column(table[name], buffer) for name in LISTS)

    @classmethod
    def read(cls, folder: Path) -> "Tokens":
        """Map the file in the folder of the stage `tokens` into memory. Raises DataError if it cannot be read."""
        buffer, table = schemas.mapped(folder / FILE, schemas.TOKENS)
        return cls(table, buffer)

    @classmethod
    def of(cls, batches: Iterable[Mapping[str, Any]]) -> "Tokens":
        """Tokens in memory, from batches of columns."""
        empty = schemas.TOKENS.empty_table()
        return cls(pa.concat_tables([empty, *(schemas.table(columns, schemas.TOKENS) for columns in batches)]))

    def replaced(self, **columns: Column) -> "Tokens":
        """A copy with other columns `prompt`, `rationale`, `step` or `answer`."""
        other = copy(self)
        vars(other).update(columns)
        return other

    def __len__(self) -> int:
        return len(self.keys)


Row = TypeVar("Row")


class TokenRows(Sequence[Row]):
    """Rows of a table of tokens as a sequence of objects, which are created on access.

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

    @property
    def prompts(self) -> np.ndarray:
        """Tokens of each prompt, int64 [n]."""
        return self.tokens.prompt.size[self.rows]

    @property
    def targets(self) -> np.ndarray:
        """Target tokens of each row, its rationale and its answer, int64 [n]."""
        return self.tokens.rationale.size[self.rows] + self.tokens.answer.size[self.rows]

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each row, int64 [n]."""
        return self.prompts + self.targets

    def key(self, place: int) -> Key:
        """The key of the row at a position."""
        return self.tokens.keys[int(self.rows[place])]

    def take(self, places: np.ndarray) -> Self:
        """The rows at positions int [m], or where a mask bool [n] is set."""
        chosen = copy(self)
        chosen.rows = self.rows[places]
        return chosen

    def parts(self) -> Iterator[Self]:
        """These rows, _ROWS at a time."""
        return (self[at : at + _ROWS] for at in range(0, len(self), _ROWS))

    def columns(self) -> list[Column]:
        """All that decides what a row is, beside its key."""
        tokens = self.tokens
        return [tokens.prompt, tokens.rationale, tokens.step, tokens.answer]

    def digest(self) -> str:
        """SHA-256 of the rows, in hex."""
        found = hashlib.sha256()
        for part in self.parts():
            found.update(json.dumps(self.tokens.keys[part.rows]).encode())
            for column in part.columns():
                found.update(column.size[part.rows].tobytes())
                found.update(column.flat(part.rows).tobytes())
        return found.hexdigest()

    @abstractmethod
    def row(self, number: int) -> Row:
        """The object of row `number` of `tokens`."""


def list_array(values: np.ndarray, size: np.ndarray) -> pa.ListArray:
    """An Arrow column of vectors: `values` are their elements, row after row, `size` int [n] their lengths."""
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def _column(chunks: pa.ChunkedArray, buffer: pa.Buffer | None) -> Column:
    """A `Column` over Arrow chunks; with `buffer`, its flat array is the whole file, so that nothing is copied."""
    begins, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    values = np.zeros(0, np.int32)
    if buffer:
        values = np.frombuffer(buffer, np.int32, buffer.size // 4)
    for chunk in chunks.chunks:
        offsets, begin = chunk.offsets.to_numpy().astype(np.int64), chunk.values.offset
        data = chunk.values.buffers()[1]
        if buffer and data is not None:
            begin += (data.address - buffer.address) // 4
        elif not buffer:
            values = chunk.values.to_numpy()
            begin = 0
        begins.append(offsets[:-1] + begin)
        sizes.append(np.diff(offsets))
    return Column(values, np.concatenate(begins), np.concatenate(sizes))
