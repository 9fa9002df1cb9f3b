"""Rows of a user's file, whatever its format."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.errors import DataError


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield (row number from 1, row) of a JSONL file (optionally .gz) or a Parquet file.

    A line that is not a JSON object comes as its text, for the caller to quarantine. Raises DataError if the file
    is missing or unreadable.
    """
    try:
        if path.suffix == ".parquet":
            number = 0
            for batch in pq.ParquetFile(path).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
            return
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parse(line)
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as JSONL, gzip JSONL or Parquet ({error})") from error


def _parse(line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except ValueError:
        return line.rstrip("\n")
    return row if isinstance(row, dict) else line.rstrip("\n")
