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


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield (row number from 1, row); blank lines are passed over.

    A line that is no JSON object comes as its text, for the caller to set aside. Raises DataError if the file is
    missing, of another kind, cut short or no UTF-8 text; nothing is replaced in silence.
    """
    try:
        if path.suffix == ".parquet":
            yield from enumerate((row for batch in pq.ParquetFile(path).iter_batches() for row in batch.to_pylist()), 1)
        elif path.suffix in (".jsonl", ".gz"):
            opener: Any = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8-sig", newline="\n") as lines:
                yield from ((number, _parsed(line)) for number, line in enumerate(lines, 1) if line.strip())
        else:
            raise DataError(f"{path}: rows come as .jsonl, .jsonl.gz or .parquet")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct the setting that names it") from error
    except (pa.ArrowException, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        kind = "a readable Parquet file" if path.suffix == ".parquet" else "whole, or no UTF-8 text"
        raise DataError(f"{path} is not {kind} ({str(error).splitlines()[0]}): restore it") from error


def _parsed(line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip("\r\n")
    return row if isinstance(row, dict) else line.rstrip("\r\n")
