"""The file contracts between stages: one Arrow schema a file, checked on write and on read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.errors import DataError
from kpod.store.files import atomic

VERSION = "1"  # part of every stage key: raise it when a schema below changes

_key = [pa.field("question_id", pa.string(), False), pa.field("sample", pa.int32(), False)]

QUESTIONS = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("dataset", pa.string(), False),
        pa.field("split", pa.string(), False),
        pa.field("question", pa.string(), False),
        pa.field("answer", pa.string(), False),
        pa.field("choices", pa.list_(pa.string())),
    ]
)
RATIONALES = pa.schema(
    [
        *_key,
        pa.field("rationale", pa.string(), False),
        pa.field("answer", pa.string()),
        pa.field("correct", pa.bool_(), False),
        pa.field("kept", pa.bool_(), False),
        pa.field("drop_reason", pa.string()),
        pa.field("model", pa.string(), False),
        pa.field("finish_reason", pa.string(), False),
        pa.field("prompt_tokens", pa.int64(), False),
        pa.field("completion_tokens", pa.int64(), False),
        pa.field("cost_usd", pa.float64()),
    ]
)
RATIONALES_OF_SEVERAL = RATIONALES.append(pa.field("teacher", pa.string(), False))  # teachers: the name of the row's
STEPS = pa.schema(
    [
        *_key,
        pa.field("step", pa.int32(), False),
        pa.field("text", pa.string(), False),
        pa.field("char_start", pa.int32(), False),
        pa.field("char_end", pa.int32(), False),
    ]
)
TOKENS = pa.schema(
    [
        *_key,
        pa.field("prompt_ids", pa.list_(pa.int32()), False),
        pa.field("rationale_ids", pa.list_(pa.int32()), False),
        pa.field("step", pa.list_(pa.int32()), False),
        pa.field("steps", pa.int32(), False),
        pa.field("visible", pa.int32(), False),
        pa.field("answer_ids", pa.list_(pa.int32()), False),
    ]
)
WEIGHTS = pa.schema(
    [
        *_key,
        pa.field("token_ids", pa.list_(pa.int32()), False),
        pa.field("step", pa.list_(pa.int32()), False),
        pa.field("weight", pa.list_(pa.float32()), False),
    ]
)
DIFFICULTY = pa.schema(
    [
        *_key,
        pa.field("step", pa.int32(), False),
        pa.field("difficulty", pa.float32(), False),
        pa.field("tokens", pa.int32(), False),
    ]
)
CURRICULUM = pa.schema(
    [
        pa.field("stage", pa.int32(), False),
        *_key,
        pa.field("input_steps", pa.int32(), False),
        pa.field("selected", pa.bool_(), False),
    ]
)
CLUSTERS = pa.schema([*_key, pa.field("cluster", pa.int32(), False)])
HISTORY = pa.schema(
    [
        pa.field("epoch", pa.int32(), False),
        pa.field("step", pa.int64(), False),
        pa.field("loss", pa.float64(), False),
        pa.field("lr", pa.float64(), False),
        pa.field("tokens", pa.int64(), False),
        pa.field("difficulty", pa.float64()),
    ]
)
PREDICTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), False),
        pa.field("dataset", pa.string(), False),
        pa.field("split", pa.string(), False),
        pa.field("completion", pa.string(), False),
        pa.field("predicted", pa.string()),
        pa.field("answer", pa.string(), False),
        pa.field("correct", pa.bool_(), False),
        pa.field("truncated", pa.bool_(), False),
    ]
)
QUARANTINE = pa.schema(
    [
        pa.field("source", pa.string(), False),
        pa.field("row", pa.string(), False),
        pa.field("reason", pa.string(), False),
    ]
)


def table(
    rows: list[dict[str, Any]] | Mapping[str, Any],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> pa.Table:
    """Build a table of `schema` from a list of row dicts or from columns.

    Raises DataError if a column is missing, unknown, of the wrong type, or null where that is not allowed.
    """
    make = pa.Table.from_pylist if isinstance(rows, list) else pa.Table.from_pydict
    names = set().union(*map(set, rows)) if isinstance(rows, list) else set(rows)
    if unknown := names - set(schema.names):
        raise DataError(f"unknown columns {sorted(unknown)}; the schema has {schema.names}")
    try:
        result = make(rows, schema=schema.with_metadata(dict(metadata) if metadata else None))
    except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError) as error:
        raise DataError(f"rows do not fit the schema: {error}") from error
    _check(result, schema, "table")
    return result


def write(path: Path, rows: pa.Table) -> None:
    """Write one Parquet file atomically (temporary name, fsync, rename)."""
    with atomic(path) as temporary:
        pq.write_table(rows, temporary, compression="zstd")


@contextmanager
def writing(
    path: Path, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> Iterator[Callable[[list[dict[str, Any]] | Mapping[str, Any]], None]]:
    """Write one file atomically, batch by batch: yields a function that writes a batch, given as for `table`.

    `NAME.parquet` is compressed (zstd); `NAME.arrow` is not, so that it can be memory-mapped. Raises DataError as
    `table` does.
    """
    described = schema.with_metadata(dict(metadata) if metadata else None)
    with atomic(path) as temporary, _open(temporary, path.suffix, described) as file:
        yield lambda rows: file.write_table(table(rows, schema).replace_schema_metadata(described.metadata))


def _open(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".arrow":
        return pa.ipc.new_file(str(path), schema)
    return pq.ParquetWriter(path, schema, compression="zstd")


def read(path: Path, schema: pa.Schema, names: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file into a table with the columns of `schema`, or those of them in `names`, cast to its types.

    Further columns of the file are ignored. Raises DataError if the file is missing or truncated, lacks a column, or
    holds a null where `schema` allows none.
    """
    schema = _subset(schema, names)
    with _readable(path, schema) as file:
        return _cast(file.read(columns=schema.names), schema, path)


def batches(
    path: Path, schema: pa.Schema, names: Sequence[str] | None = None, rows: int = 65_536
) -> Iterator[pa.Table]:
    """As `read`, in tables of at most `rows` rows, one at a time in memory."""
    schema = _subset(schema, names)
    with _readable(path, schema) as file:
        for batch in file.iter_batches(rows, columns=schema.names):
            yield _cast(pa.Table.from_batches([batch]), schema, path)


def mapped(path: Path, schema: pa.Schema) -> tuple[pa.Buffer, pa.Table]:
    """Memory-map an uncompressed Arrow file: its buffer, and the table whose columns are views of it (no copy).

    Raises DataError if the file is missing or unreadable, or its schema is not `schema`.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: rerun the stage that writes it")
    try:
        buffer = pa.memory_map(str(path)).read_buffer()
        columns = pa.ipc.open_file(buffer).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Arrow file ({error}): restore or recompute it") from error
    if not columns.schema.equals(schema):
        raise DataError(f"{path} breaks its schema: rerun the stage that writes it")
    return buffer, columns


def _subset(schema: pa.Schema, names: Sequence[str] | None) -> pa.Schema:
    return schema if names is None else pa.schema([schema.field(name) for name in names])


@contextmanager
def _readable(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    if not path.is_file():
        raise DataError(f"{path} is missing: rerun the stage that writes it")
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(schema.names) - set(file.schema_arrow.names):
                raise DataError(f"{path} lacks the columns {sorted(missing)}")
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}): restore or recompute it") from error


def _cast(data: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    try:
        selected = data.select(schema.names).cast(schema.with_metadata(data.schema.metadata))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"{path} breaks its schema: {error}") from error
    _check(selected, schema, str(path))
    return selected


def _check(data: pa.Table, schema: pa.Schema, name: str) -> None:
    for field in schema:
        if not field.nullable and data[field.name].null_count:
            raise DataError(f"{name}: column {field.name} holds {data[field.name].null_count} nulls, none allowed")
