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


def load(source: QuestionFile) -> Iterator[Raw]:
    """Every row of every file, as it stands there. Raises DataError for a missing, broken, cut or empty file."""
    for split, path in source.files.items():
        rows = _parquet(path) if path.suffix == ".parquet" else _jsonl(path)
        if not rows:
            raise DataError(f"{path} holds no question: fill it or take it out of questions.sources")
        for row in rows[: source.limit.get(split)]:
            yield Raw(source.dataset, split, row)


def _parquet(path: Path) -> list[Any]:
    try:
        return pq.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct questions.sources") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a readable Parquet file ({reason}): restore or rewrite it") from error


def _jsonl(path: Path) -> list[Any]:
    if path.suffixes[-1:] not in ([".jsonl"], [".gz"]):
        raise DataError(f"{path}: questions come as .jsonl, .jsonl.gz or .parquet")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: correct questions.sources") from error
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is cut short or no UTF-8 text ({error}): restore it") from error
    return [_parsed(line) for line in text.split("\n") if line.strip()]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return line  # set aside later, with the line itself to look at
