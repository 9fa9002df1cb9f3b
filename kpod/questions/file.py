"""A user's questions from JSONL (plain or gzip) or Parquet."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.config import QuestionFile
from kpod.errors import DataError
from kpod.questions.raw import Raw

MAX_BYTES = 4 << 30  # unpacked: more would rather be an attack than questions


def load(source: QuestionFile) -> Iterator[Raw]:
    """Every row of every file, as it stands there. Raises DataError for a missing, broken, cut or empty file."""
    for split, path in source.files.items():
        rows = read(path)
        if not rows:
            raise DataError(f"{path} holds no question: fill it or take it out of questions.sources")
        for row in rows[: source.limit.get(split)]:
            yield Raw(source.dataset, split, row)


def read(path: Path, max_bytes: int = MAX_BYTES) -> list[Any]:
    """The rows of one file. Raises DataError if it is missing, broken or, unpacked, larger than `max_bytes`."""
    return _parquet(path, max_bytes) if path.suffix == ".parquet" else _jsonl(path, max_bytes)


def _parquet(path: Path, max_bytes: int) -> list[Any]:
    try:
        with pq.ParquetFile(path) as file:
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > max_bytes:
                raise DataError(_too_large(path, max_bytes))
            rows: list[Any] = []
            size = 0
            # The footer's sizes are those of the encodings: a value that repeats unpacks to more.
            for batch in file.iter_batches(batch_size=64):
                columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
                size += sum(column.nbytes for column in columns)
                if size > max_bytes:
                    raise DataError(_too_large(path, max_bytes))
                rows += batch.to_pylist()
            return rows
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct questions.sources") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable Parquet file ({reason}): restore or rewrite it") from error


def _jsonl(path: Path, max_bytes: int) -> list[Any]:
    if path.suffixes[-1:] not in ([".jsonl"], [".gz"]):
        raise DataError(f"{path}: questions come as .jsonl, .jsonl.gz or .parquet")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(max_bytes + 1)  # a gzip bomb is not unpacked any further
        if len(data) > max_bytes:
            raise DataError(_too_large(path, max_bytes))
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct questions.sources") from error
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is cut short or no UTF-8 text ({error}): restore it") from error
    return [_parsed(line) for line in text.split("\n") if line.strip()]


def _too_large(path: Path, max_bytes: int) -> str:
    return f"{path} holds more than {max_bytes / 1e6:.0f} MB unpacked: cut it into smaller files"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return line  # set aside later, with the line itself to look at
