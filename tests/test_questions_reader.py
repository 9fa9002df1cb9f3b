"""Questions in every column type of Parquet and every oddity of JSON: read as what they say, or set aside."""

import datetime
import json
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpod import schemas
from kpod.config import QuestionFile, Questions
from kpod.errors import DataError, KpodError
from kpod.questions.raw import BadRow, Raw, question_row
from kpod.questions.rows import read
from kpod.questions.stage import run
from kpod.retrain.incoming import add


def stage(folder: Path, file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The questions of a file, and the reasons for which rows were set aside."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    run({}, Questions(sources=[QuestionFile(dataset="sums", files={"train": file})]), out)
    aside = out / "quarantine.parquet"
    reasons = [row["reason"] for row in schemas.read(aside, schemas.QUARANTINE).to_pylist()] if aside.exists() else []
    return schemas.read(out / "questions.parquet", schemas.QUESTIONS).to_pylist(), reasons


@pytest.mark.parametrize(
    ("column", "answer"),
    [
        (pa.array([b"4"]), "4"),
        (pa.array([b"4"], pa.large_binary()), "4"),
        (pa.array([b"4"], pa.binary_view()), "4"),
        (pa.array([b"four"], pa.binary(4)), "four"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([0.1], pa.float16()), "0.1"),
        (pa.array([3.25], pa.float64()), "3.25"),
        (pa.array([1e-7]), "0.0000001"),
        (pa.array([1e22]), "10000000000000000000000"),
        (pa.array([42.0], pa.float32()), "42"),
        (pa.array([-0.0]), "-0"),
        (pa.array([Decimal("42.00")]), "42"),
        (pa.array([Decimal("4.50")]), "4.5"),
        (pa.array([Decimal("0.10000000000000000001")]), "0.10000000000000000001"),
        (pa.array([Decimal("12345678901234567890.5")]), "12345678901234567890.5"),
        (pa.array(["4"]).dictionary_encode(), "4"),
        (pa.array([0.1], pa.float32()).dictionary_encode(), "0.1"),
        (pa.array(["4"], pa.large_string()), "4"),
        (pa.array(["4"], pa.string_view()), "4"),
        (pa.array([4], pa.uint64()), "4"),
        (pa.array([2**63], pa.uint64()), "9223372036854775808"),
        (pa.array([datetime.date(2024, 2, 29)]), "2024-02-29"),
        (pa.array(['"four"'], pa.json_(pa.string())), "four"),
        (pa.array(["4.0"], pa.json_(pa.string())), "4"),
    ],
)
def test_answers_of_every_column_type(tmp_path: Path, column: pa.Array, answer: str) -> None:
    pq.write_table(pa.table({"id": ["a"], "question": ["Which?"], "answer": column}), tmp_path / "a.parquet")
    [found], reasons = stage(tmp_path, tmp_path / "a.parquet")
    assert (found["answer"], reasons) == (answer, [])


@pytest.mark.parametrize(
    ("column", "choices"),
    [
        (pa.array([[*{"A": "cat", "B": "dog"}.items()]], pa.map_(pa.string(), pa.string())), ["cat", "dog"]),
        (pa.array([[*{"A": b"cat", "B": b"dog"}.items()]], pa.map_(pa.string(), pa.binary())), ["cat", "dog"]),
        (pa.array([[*{"A": 0.1, "B": 0.2}.items()]], pa.map_(pa.string(), pa.float32())), ["0.1", "0.2"]),
        (pa.array([["cat", "dog"]], pa.large_list(pa.large_string())), ["cat", "dog"]),
        (pa.array([["cat", "dog"]], pa.list_(pa.string(), 2)), ["cat", "dog"]),
        (pa.array([[b"cat", b"dog"]]), ["cat", "dog"]),
        (pa.array([[0.1, 0.2]], pa.list_(pa.float32())), ["0.1", "0.2"]),
        (pa.array([[Decimal("1.50"), Decimal("2.00")]]), ["1.5", "2"]),
        (pa.array([{"A": b"cat", "B": b"dog"}]), ["cat", "dog"]),
        (pa.array([{"label": ["A", "B"], "text": [0.1, 0.2]}], pa.struct({"label": pa.list_(pa.string()),
         "text": pa.list_(pa.float32())})), ["0.1", "0.2"]),
    ],
)  # fmt: skip
def test_options_of_every_column_type(tmp_path: Path, column: pa.Array, choices: list[str]) -> None:
    table = pa.table({"id": ["a"], "question": ["Which?"], "answer": ["B"], "choices": column})
    pq.write_table(table, tmp_path / "a.parquet")
    [found], reasons = stage(tmp_path, tmp_path / "a.parquet")
    assert (found["choices"], found["answer"], reasons) == (choices, "B", [])


def test_one_text_that_is_no_utf_8_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"4", b"\xff"]).buffers())
    pq.write_table(pa.table({"id": ["a", "b"], "question": ["One?", "Two?"], "answer": bad}), tmp_path / "a.parquet")
    [found], reasons = stage(tmp_path, tmp_path / "a.parquet")
    assert (found["id"], reasons) == ("a", ["a text is not UTF-8"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Infinity", "no answer"),
        ("-Infinity", "no answer"),
        ("NaN", "no answer"),
        ("1e999", "no answer"),
        ("1e300", "a number is too long"),
        ("1e-300", "a number is too long"),
        ("true", "no answer"),
        ("[4]", "no answer"),
        ("1" * 5000, "not a JSON object"),  # Python reads no number of so many digits
    ],
)
def test_a_gold_that_is_no_number_is_set_aside(tmp_path: Path, value: str, reason: str) -> None:
    rows = ['{"id": "a", "question": "One?", "answer": 4}', f'{{"id": "b", "question": "Two?", "answer": {value}}}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    [found], reasons = stage(tmp_path, tmp_path / "a.jsonl")
    assert (found["id"], reasons) == ("a", [reason])


def test_half_an_emoji_is_replaced_in_every_field(tmp_path: Path) -> None:
    half = {"id": "a\ud83d", "question": "\ud83d?", "answer": "x\udc00", "choices": ["x\udc00", "\ud83d"]}
    whole = {"id": "\U0001f600", "question": "\U0001f600?", "answer": "4"}
    bad = {"id": "c", "question": "\ud83d", "answer": None}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, (half, whole, bad))))
    found, reasons = stage(tmp_path, tmp_path / "a.jsonl")
    assert found[0]["choices"] == ["x\ufffd", "\ufffd"]
    assert (found[0]["id"], found[0]["question"], found[0]["answer"]) == ("a\ufffd", "\ufffd?", "A")
    assert (found[1]["id"], reasons) == ("\U0001f600", ["no answer"])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [b",", b",\n", b"\n,\n  "])
def test_a_list_of_objects_is_a_file_of_rows(tmp_path: Path, mark: bytes, separator: bytes) -> None:
    rows = [json.dumps({"id": name, "question": f"{name}?", "answer": 4}).encode() for name in "ab"]
    (tmp_path / "a.jsonl").write_bytes(mark + b"[" + separator.join([*rows, b"5"]) + b"]\n")
    found, reasons = stage(tmp_path, tmp_path / "a.jsonl")
    assert ([row["id"] for row in found], reasons) == (["a", "b"], ["not a JSON object"])


def test_lines_that_begin_with_a_bracket_stay_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'[1]\n{"id": "a"}\n[\n')
    assert list(read(tmp_path / "a.jsonl")) == [(1, "[1]"), (2, {"id": "a"}), (3, "[")]


def test_a_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"id": "a"}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="is UTF-16: save it as UTF-8"):
        list(read(tmp_path / "a.jsonl"))


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    for name in ("nofile.jsonl", "nofile", "nofile.csv"):
        with pytest.raises(DataError, match=f"{name} does not exist"):
            add(tmp_path / name, tmp_path / "incoming")
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match="new questions come as a file"):
        add(tmp_path / "a.csv", tmp_path / "incoming")


texts = st.text(max_size=6) | st.sampled_from(["\ud83d", "A", "(B)", "4", "#### ", "\x00", "1e5"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.decimals() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "question", "answer", "choices"), values))


@given(fields | values)
def test_any_row_is_a_question_or_a_bad_row(row: Any) -> None:
    raw = Raw("sums", "train", row)
    raw.shown.encode()
    try:
        found = question_row(raw)
    except BadRow:
        return
    schemas.table([found], schemas.QUESTIONS)


@pytest.mark.parametrize("unit", ["1", "1,", "1/", " ", "$", "\\frac{1}", "(", "A ", "\ud83d", "é", "-", "x=1 "])
def test_a_long_row_takes_linear_time(unit: str) -> None:
    long = unit * (200_000 // len(unit))
    began = time.process_time()
    for row in (
        {"id": "a", "question": long, "answer": "1"},
        {"id": "a", "question": "How many?", "answer": long},
        {"id": "a", "question": "Which?", "answer": "A", "choices": [long, "b"]},
    ):
        with suppress(BadRow):
            question_row(Raw("sums", "train", row))
    assert time.process_time() - began < 5


lines = st.dictionaries(st.sampled_from(["id", "question", "answer", "choices", "x"]), values.filter(
    lambda value: "b'" not in repr(value) and "Decimal" not in repr(value)), max_size=5).map(json.dumps)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines.map(str.encode) | st.binary(max_size=20), max_size=6))
def test_any_bytes_are_rows_or_one_clear_line(tmp_path_factory: pytest.TempPathFactory, content: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "a.jsonl").write_bytes(b"\n".join(content))
    said = ""
    try:
        stage(folder, folder / "a.jsonl")
    except KpodError as error:
        said = str(error)
    assert "\n" not in said


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_a_broken_parquet_file_is_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "answer": [1.5, 2.0]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    said = ""
    try:
        list(read(path))
    except DataError as error:
        said = str(error)
    assert "\n" not in said
