"""Rows of a user's file: JSONL (plain or gzip) or Parquet."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kpod.errors import DataError
from kpod.text.hygiene import well_formed_tree

MAX_BYTES = 4 << 30  # unpacked; guards against decompression bombs
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate, possibly without its other half
Row = dict[str, Any] | str


def read(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[tuple[int, Row]]:
    """Yield (row number from 1, row); blank lines are skipped.

    A line that is no JSON object is yielded as text, for the caller to quarantine. Raises DataError if the file is
    missing, of another kind, truncated, not UTF-8 or, unpacked, larger than `max_bytes`.
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
    except (pa.ArrowException, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        kind = "a readable Parquet file" if path.suffix == ".parquet" else "whole, or no UTF-8 text"
        raise DataError(f"{path} is not {kind} ({(str(error).splitlines() or [''])[0]}): restore it") from error


def _jsonl(path: Path, max_bytes: int) -> Iterator[tuple[int, Row]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        number = size = 0
        while line := file.readline(max_bytes - size + 1):  # stops unpacking a gzip bomb
            number, size = number + 1, size + len(line)
            if size > max_bytes:
                raise _too_large(path, max_bytes)
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path} is UTF-16: save it as UTF-8")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if number == 1 and text.lstrip().startswith("["):
                array = _array(text + file.read(max_bytes - size + 1).decode())
                if array is not None:
                    yield from enumerate(array, 1)
                    return
                file.seek(size)
            if text.strip():
                yield number, _parsed(text)


def _array(text: str) -> list[Row] | None:
    """The rows of a file that is one JSON list of objects, or None."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not any(isinstance(row, dict) for row in items):
        return None
    return [row if isinstance(row, dict) else json.dumps(row) for row in well_formed_tree(items)]


def _parquet(path: Path, max_bytes: int) -> Iterator[dict[str, Any]]:
    size = 0
    with pq.ParquetFile(path) as file:
        plain = {field.name: reader for field in file.schema_arrow if (reader := reader_of(field.type))}
        # The footer holds encoded sizes only; repeated values unpack to more.
        for batch in file.iter_batches(batch_size=64):
            columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
            size += sum(column.nbytes for column in columns)
            if size > max_bytes:
                raise _too_large(path, max_bytes)
            for row in _rows(batch):
                for name, reader in plain.items():
                    row[name] = reader(row[name])
                yield row


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:  # one invalid text must not lose the other rows
        texts = [pa.types.is_string(c.type) or pa.types.is_large_string(c.type) for c in batch.columns]
        columns = [c.cast(pa.large_binary()) if text else c for c, text in zip(batch.columns, texts, strict=True)]
        rows = pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
        names = [name for name, text in zip(batch.schema.names, texts, strict=True) if text]
        return [row | {name: _text(row[name]) for name in names} for row in rows]


def reader_of(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """Converter of an Arrow type's values, as `to_pylist` returns them, to JSON types; None if none is needed.

    Binary is read as UTF-8 text (bytes that are none stay bytes), a map becomes a dict, a decimal and a float of
    fewer than 64 bits the shortest number that says the same.
    """
    types = pa.types
    if isinstance(kind, pa.JsonType):
        return lambda value: None if value is None else json.loads(value)
    if isinstance(kind, pa.BaseExtensionType):
        return reader_of(kind.storage_type)
    if types.is_dictionary(kind):
        return reader_of(kind.value_type)
    binary = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    if any(is_one(kind) for is_one in binary):
        return _text
    if types.is_float16(kind) or types.is_float32(kind):
        short = np.float16 if types.is_float16(kind) else np.float32
        return lambda value: None if value is None else float(str(short(value)))
    if types.is_decimal(kind):
        return lambda value: None if value is None else _number(value)
    if types.is_map(kind):
        keys, items = (reader_of(part) or _same for part in (kind.key_type, kind.item_type))
        return lambda value: None if value is None else {keys(k): items(v) for k, v in value}
    if types.is_struct(kind):
        fields = {field.name: reader for field in kind if (reader := reader_of(field.type))}
        return lambda value: value and value | {name: reader(value[name]) for name, reader in fields.items()}
    inner = reader_of(kind.value_type) if types.is_nested(kind) and not types.is_union(kind) else None
    return None if inner is None else lambda value: None if value is None else [inner(item) for item in value]


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _number(value: Decimal) -> int | float | str:
    """A decimal as an int or float; as text where a float would round it."""
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else f"{value.normalize():f}"


def _too_large(path: Path, max_bytes: int) -> DataError:
    return DataError(f"{path} holds more than {max_bytes / 1e6:.0f} MB unpacked: cut it into smaller files")


def _parsed(line: str) -> Row:
    try:
        row = json.loads(line)
        if _SURROGATE.search(line):
            row = well_formed_tree(row)
    except (ValueError, RecursionError):
        return line.rstrip("\r\n")
    return row if isinstance(row, dict) else line.rstrip("\r\n")
