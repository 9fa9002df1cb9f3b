"""Compacted logs of the journal: one Parquet file each, unsorted, read in row groups."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.store.files import atomic

GROUP = 512  # rows read at once for one text
HELD = 8  # groups in memory
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("text", pa.string(), False),
        pa.field("thinking", pa.string()),
        pa.field("refused", pa.bool_(), False),
        pa.field("finish_reason", pa.string(), False),
        pa.field("prompt_tokens", pa.int64(), False),
        pa.field("completion_tokens", pa.int64(), False),
        pa.field("estimated", pa.bool_(), False),
        pa.field("model", pa.string(), False),
    ]
)


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as one Parquet file, atomically."""
    left = iter(records)
    with atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        while batch := list(islice(left, GROUP)):
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))


class Part:
    """One file; the row groups used last are in memory."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._groups = OrderedDict[int, list[dict[str, Any]]]()

    def keys(self) -> Iterator[bytes]:
        """The keys in row order."""
        for batch in self._file.iter_batches(columns=["key"]):
            yield from (bytes.fromhex(key) for key in batch.column(0).to_pylist())

    def row(self, number: int) -> dict[str, Any]:
        """The record in a row."""
        group = number // GROUP
        if group not in self._groups:
            self._groups[group] = self._file.read_row_group(group).to_pylist()
            if len(self._groups) > HELD:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group][number % GROUP]
