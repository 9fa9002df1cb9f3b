"""Stage `questions`: sources in one table, nothing lost, bad input set aside or refused in one line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod import schemas
from kpod.config import QuestionFile, Questions, WordProblems
from kpod.errors import DataError
from kpod.questions.stage import run


def row(number: int, **changed: Any) -> dict[str, Any]:
    return {"id": f"q{number}", "question": f"What is {number} + 1?", "answer": str(number + 1)} | changed


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


def stage(out: Path, **files: Path) -> tuple[dict[str, float], list[dict[str, Any]], list[dict[str, Any]]]:
    out.mkdir(exist_ok=True)
    figures = run({}, Questions(sources=[QuestionFile(dataset="sums", files=files)]), out)
    bad = out / "quarantine.parquet"
    aside = schemas.read(bad, schemas.QUARANTINE).to_pylist() if bad.exists() else []
    return figures, schemas.read(out / "questions.parquet", schemas.QUESTIONS).to_pylist(), aside


def test_sources_are_put_one_after_the_other(tmp_path: Path) -> None:
    file = QuestionFile(dataset="sums", files={"test": jsonl(tmp_path / "t.jsonl", [row(1), row(2)])})
    figures = run({}, Questions(sources=[WordProblems(train=5, validation=1, test=1, longer=1), file]), tmp_path)
    rows = schemas.read(tmp_path / "questions.parquet", schemas.QUESTIONS).to_pylist()
    assert [r["dataset"] for r in rows] == ["wordproblems"] * 7 + ["wordproblems-longer", "sums", "sums"]
    assert rows[-1] == row(2) | {"dataset": "sums", "split": "test", "choices": None}
    assert figures["questions"] == 10
    assert figures["quarantined"] == 0
    assert figures["questions.sums.test"] == 2
    assert not (tmp_path / "quarantine.parquet").exists()


def test_the_output_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run({}, Questions(sources=[WordProblems(train=20)]), tmp_path / name)
    assert (tmp_path / "a/questions.parquet").read_bytes() == (tmp_path / "b/questions.parquet").read_bytes()


def test_jsonl_gzip_and_parquet_read_alike(tmp_path: Path) -> None:
    rows = [row(1), row(2, answer=3), row(3, answer=4.0), row(4, answer=0.5)]
    plain = jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    pq.write_table(pa.Table.from_pylist([r | {"answer": str(r["answer"])} for r in rows]), tmp_path / "a.parquet")
    read = [stage(tmp_path / name, train=tmp_path / name.replace("out-", ""))[1] for name in
            ("out-a.jsonl", "out-a.jsonl.gz", "out-a.parquet")]  # fmt: skip
    assert [r["answer"] for r in read[0]] == ["2", "3", "4", "0.5"]
    assert read[0] == read[1]
    assert [r["id"] for r in read[2]] == ["q1", "q2", "q3", "q4"]


def test_limit_takes_the_first_rows_of_a_split(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row(i) for i in range(9)])
    source = QuestionFile(dataset="sums", files={"train": path}, limit={"train": 4})
    assert run({}, Questions(sources=[source]), tmp_path)["questions.sums.train"] == 4


@pytest.mark.parametrize(
    ("choices", "answer", "texts", "letter"),
    [
        ({"A": "cat", "B": "dog"}, "B", ["cat", "dog"], "B"),
        ({"A": "cat", "B": "dog"}, "(b).", ["cat", "dog"], "B"),
        ({"A": "cat", "B": "dog"}, "Dog", ["cat", "dog"], "B"),
        ({"1": "cat", "2": "dog"}, "2", ["cat", "dog"], "B"),
        (["cat", "dog", "cow"], "C", ["cat", "dog", "cow"], "C"),
        (["12", "15"], "15", ["12", "15"], "B"),
        ({"label": ["A", "B"], "text": ["cat", "dog"]}, "A", ["cat", "dog"], "A"),
        ({"A": "cat", "B": "dog", "C": None}, "A", ["cat", "dog"], "A"),
        ([], "5", None, "5"),
        (None, "5", None, "5"),
    ],
)
def test_options_in_all_shapes(tmp_path: Path, choices: Any, answer: str, texts: list[str], letter: str) -> None:
    _, rows, _ = stage(tmp_path / "out", test=jsonl(tmp_path / "a.jsonl", [row(1, choices=choices, answer=answer)]))
    assert (rows[0]["choices"], rows[0]["answer"]) == (texts, letter)


BAD = [
    ("{cut", "not a JSON object"),
    ("[" * 100_000, "not a JSON object"),
    ([1, 2], "not a JSON object"),
    (row(5, id=None), "no id"),
    (row(5, question="  "), "empty question"),
    ({"id": "q5", "answer": "2"}, "empty question"),
    (row(5, answer=None), "no answer"),
    (row(5, answer=""), "no answer"),
    (row(5, answer="worked out ####  "), "no answer"),
    (row(5, answer=float("nan")), "no answer"),
    (row(5, answer={"value": 5}), "no answer"),
    (row(5, choices=["one"], answer="A"), "needs 2 to 26 options"),
    (row(5, choices=["one", ""], answer="A"), "needs 2 to 26 options"),
    (row(5, choices=[str(i) for i in range(30)], answer="A"), "needs 2 to 26 options"),
    (row(5, choices="one, two", answer="A"), "neither a list"),
    (row(5, choices=["one", "two"], answer="Z"), "none of the options"),
    (row(5, choices=["one", "One"], answer="one"), "several options"),
    (row(1, question="Again?"), "the id occurs twice"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path, bad: Any, reason: str) -> None:
    figures, rows, aside = stage(tmp_path / "out", train=jsonl(tmp_path / "a.jsonl", [row(1), bad, row(2)]))
    assert [r["id"] for r in rows] == ["q1", "q2"]  # of two rows with one id, the first stays
    assert figures["quarantined"] == 1
    assert aside[0]["source"] == "sums/train"
    assert reason in aside[0]["reason"]
    assert aside[0]["row"] not in ("", "null")


def test_a_text_in_train_and_in_an_evaluation_split_leaves_train(tmp_path: Path) -> None:
    figures, rows, aside = stage(
        tmp_path / "out",
        train=jsonl(tmp_path / "a.jsonl", [row(1), row(2)]),
        test=jsonl(tmp_path / "b.jsonl", [row(7, question=" what is  2 + 1?"), row(8)]),
    )
    assert [(r["id"], r["split"]) for r in rows] == [("q1", "train"), ("q7", "test"), ("q8", "test")]
    assert figures["quarantined"] == 1
    assert aside[0]["reason"] == "the text is also in sums/test"
    assert json.loads(aside[0]["row"])["id"] == "q2"


def test_gsm8k_answers_and_mixed_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(1, answer="1 + 1 = <<1+1=2>>2\n#### 1,234"), row(2, answer="Paris")]
    figures, kept, _ = stage(tmp_path / "out", test=jsonl(tmp_path / "a.jsonl", rows))
    assert [r["answer"] for r in kept] == ["1,234", "Paris"]
    assert (figures["answers.numbers"], figures["answers.texts"]) == (1, 1)
    assert "sums mixes kinds of answers: 1 numbers, 1 texts" in capsys.readouterr().err


def _cut_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row(i) for i in range(500)]), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_gzip(path: Path) -> None:
    data = gzip.compress("\n".join(json.dumps(row(i)) for i in range(500)).encode())
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.parquet", _cut_parquet, "not a readable Parquet file"),
        ("a.jsonl.gz", _cut_gzip, "not whole"),
        ("a.jsonl.gz", lambda p: p.write_bytes(b"plain"), "not whole"),
        ("a.jsonl", lambda p: p.write_bytes(b'{"id": "\xff\xfe"}'), "no UTF-8 text"),
        ("a.jsonl", lambda p: p.write_text("\n \n"), "holds no question"),
        ("a.parquet", lambda p: pq.write_table(pa.table({"id": pa.array([], pa.string())}), p), "holds no question"),
        ("a.jsonl", lambda p: None, "does not exist"),
        ("a.parquet", lambda p: None, "does not exist"),
        ("a.csv", lambda p: p.write_text("id,question"), r"come as \.jsonl"),
        ("a.jsonl", lambda p: p.write_text('{"id": "a", "question": "b"}'), r"no usable question .*no answer"),
    ],
)
def test_an_unusable_file_is_one_clear_line(tmp_path: Path, name: str, make: Any, said: str) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=said) as caught:
        stage(tmp_path / "out", train=tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/questions.parquet").exists()
