"""The Parquet contracts are checked when a file is written and when it is read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod import schemas
from kpod.errors import DataError

ROW = {"id": "q1", "dataset": "d", "split": "train", "question": "?", "answer": "1", "choices": None}


def test_rows_survive_the_round_trip_with_metadata(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    schemas.write(path, schemas.table([ROW], schemas.QUESTIONS, {"note": "x"}))
    found = schemas.read(path, schemas.QUESTIONS)
    assert found.to_pylist() == [ROW]
    assert found.schema.metadata[b"note"] == b"x"


def test_a_file_cut_in_half_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    schemas.write(path, schemas.table([ROW] * 1000, schemas.QUESTIONS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"questions\.parquet is not a readable Parquet file") as caught:
        schemas.read(path, schemas.QUESTIONS)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"steps\.parquet is missing"):
        schemas.read(tmp_path / "steps.parquet", schemas.STEPS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "answer": None}, "answer"),
        ({**ROW, "extra": 1}, "extra"),
        ({**ROW, "answer": 3}, "fit the schema"),
    ],
)
def test_rows_that_break_the_schema_are_refused(row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        schemas.table([row], schemas.QUESTIONS)


def test_a_foreign_file_without_a_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "questions.parquet")
    with pytest.raises(DataError, match="lacks the columns"):
        schemas.read(tmp_path / "questions.parquet", schemas.QUESTIONS)


def test_a_foreign_file_may_have_more_columns_and_wider_types(tmp_path: Path) -> None:
    names = ["question_id", "sample", "step", "text", "char_start", "char_end"]
    table = pa.table([["q"], [0], [0], ["a"], [0], [1]], names=names).append_column("mine", pa.array([1]))
    pq.write_table(table, tmp_path / "steps.parquet")
    assert schemas.read(tmp_path / "steps.parquet", schemas.STEPS).schema.equals(schemas.STEPS)
