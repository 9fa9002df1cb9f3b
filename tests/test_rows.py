"""The reader of users' files."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod.errors import DataError
from kpod.questions.rows import read

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=6), st.booleans())
def test_every_row_comes_back_whatever_its_texts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode()))
    assert [row for _, row in read(path)] == rows


def test_lines_keep_their_numbers_and_what_is_no_object_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n[2]\nnull\n{"a": \n' + b"[" * 100_000 + b"\n")
    found = list(read(tmp_path / "a.jsonl"))
    assert found[:-1] == [(1, {"a": 1}), (3, "[2]"), (4, "null"), (5, '{"a": ')]
    assert found[-1][0] == 6


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path, kind: str) -> None:
    row: dict[str, Any] = {"id": "a", "text": "0" * 100_000}
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row] * 50), path, compression="zstd")
    else:
        data = (json.dumps(row) + "\n").encode() * 50
        path.write_bytes(gzip.compress(data) if kind == "jsonl.gz" else data)
    with pytest.raises(DataError, match="holds more than 1 MB unpacked"):
        list(read(path, 1_000_000))
    assert len(list(read(path))) == 50
