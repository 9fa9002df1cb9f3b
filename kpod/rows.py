"""Rows of a user's file: JSONL (plain or gzip) or Parquet."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.errors import DataError

MAX_BYTES = 4 << 30  # unpacked: more would rather be an attack than data
Row = dict[str, Any] | str


def read(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[tuple[int, Row]]:
    """Yield (row number from 1, row); blank lines are passed over.

    A line that is no JSON object comes as its text, for the caller to set aside. Raises DataError if the file is
    missing, of another kind, cut short, no UTF-8 text (nothing is replaced in silence) or, unpacked, larger than
    `max_bytes`.
    """
    try:
        if path.suffix == ".parquet":
            yield from enumerate(_parquet(path, max_bytes), 1)
        elif path.suffix in (".jsonl", ".gz"):
            yield from _jsonl(path, max_bytes)
        else:
            raise DataError(f"{path}: rows come as .jsonl, .jsonl.gz or .parquet")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct the setting that names it") from error
    except (pa.ArrowException, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        kind = "a readable Parquet file" if path.suffix == ".parquet" else "whole, or no UTF-8 text"
        raise DataError(f"{path} is not {kind} ({str(error).splitlines()[0]}): restore it") from error


def _jsonl(path: Path, max_bytes: int) -> Iterator[tuple[int, Row]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        number = size = 0
        while line := file.readline(max_bytes - size + 1):  # a gzip bomb is not unpacked any further
            number, size = number + 1, size + len(line)
            if size > max_bytes:
                raise _too_large(path, max_bytes)
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, _parsed(text)


def _parquet(path: Path, max_bytes: int) -> Iterator[dict[str, Any]]:
    size = 0
    with pq.ParquetFile(path) as file:
        # The footer tells the sizes of the encodings only: a value that repeats unpacks to more.
        for batch in file.iter_batches(batch_size=64):
            columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
            size += sum(column.nbytes for column in columns)
            if size > max_bytes:
                raise _too_large(path, max_bytes)
            yield from batch.to_pylist()


def _too_large(path: Path, max_bytes: int) -> DataError:
    return DataError(f"{path} holds more than {max_bytes / 1e6:.0f} MB unpacked: cut it into smaller files")


def _parsed(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip("\r\n")
    return row if isinstance(row, dict) else line.rstrip("\r\n")
