"""Stage `evaluate`: judged answers, counted shares, and nothing that is silently lost."""

import json
from pathlib import Path

import pytest
from evaluate_tiny import QUESTIONS, learned, questions, student
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from kpod import schemas
from kpod.config import Evaluate, WordProblems
from kpod.errors import DataError, ModelError
from kpod.evaluate.accuracy import accuracies, accuracy
from kpod.evaluate.generate import Completion
from kpod.evaluate.judge import examine
from kpod.evaluate.page import page
from kpod.evaluate.stage import run
from kpod.evaluate.statistics import wilson
from kpod.questions.wordproblems import generate

CONFIG = Evaluate(max_new_tokens=90, batch_size=2, precision="fp32")


@pytest.fixture(scope="module")
def by_heart() -> PreTrainedModel:
    return learned()


@pytest.fixture
def inputs(tmp_path: Path, by_heart: PreTrainedModel) -> dict[str, Path]:
    return {"student": student(tmp_path / "base", by_heart), "questions": questions(tmp_path / "questions")}


def out(tmp_path: Path, name: str = "out") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_predictions_are_judged_and_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    figures = run(inputs, CONFIG, out(tmp_path))
    rows = schemas.read(tmp_path / "out/predictions.parquet", schemas.PREDICTIONS).to_pylist()
    assert [row["question_id"] for row in rows] == list(QUESTIONS)
    assert {row["question_id"]: row["predicted"] for row in rows} == {
        "right": "7", "next": "4", "nothing": None, "endless": "7", "long": "1018",
    }  # fmt: skip
    assert [row["correct"] for row in rows] == [True, False, False, True, False]
    assert [row["truncated"] for row in rows] == [False, False, False, True, False]
    assert figures == {
        "accuracy": 0.4, "truncated": 0.2, "answerless": 0.2, "questions": 5, "quarantined": 0, "too_long": 0,
        "accuracy.tiny.test": 0.4,
    }  # fmt: skip
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["overall"]["correct"] == 2
    assert (metrics["overall"]["low"], metrics["overall"]["high"]) == pytest.approx(wilson(2, 5))
    assert [(row["dataset"], row["questions"]) for row in metrics["sets"]] == [("tiny", 5)]
    page = (tmp_path / "out/report.html").read_text()
    assert "40.0" in page


def test_outputs_are_the_same_bytes_each_time(tmp_path: Path, inputs: dict[str, Path]) -> None:
    for name in ("a", "b"):
        run(inputs, CONFIG, out(tmp_path, name))
    for name in ("predictions.parquet", "metrics.json", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_only_the_wanted_splits_and_every_set_by_itself(tmp_path: Path, inputs: dict[str, Path]) -> None:
    text = QUESTIONS["right"]
    rows = [
        {"id": "a", "question": text, "split": "validation"},
        {"id": "b", "question": text, "dataset": "other"},
        {"id": "c", "question": text, "answer": "8"},
        {"id": "d", "question": text, "split": "train"},
    ]
    questions(inputs["questions"], rows)
    config = CONFIG.model_copy(update={"splits": ["validation", "test"]})
    figures = run(inputs, config, out(tmp_path))
    assert figures["questions"] == 3
    assert {name: value for name, value in figures.items() if name.startswith("accuracy.")} == {
        "accuracy.tiny.validation": 1.0,
        "accuracy.other.test": 1.0,
        "accuracy.tiny.test": 0.0,
    }
    questions(inputs["questions"], rows[3:])
    with pytest.raises(DataError, match=r"evaluate\.splits: no usable question is in validation, test"):
        run(inputs, config, out(tmp_path, "none"))


def test_options_are_judged_by_their_letter(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [
        {"id": "a", "question": "Which?", "choices": ["cat", "dog"], "answer": "B"},
        {"id": "b", "question": QUESTIONS["right"]},
    ]
    questions(inputs["questions"], rows)
    run(inputs, CONFIG, out(tmp_path))
    found = schemas.read(tmp_path / "out/predictions.parquet", schemas.PREDICTIONS).to_pylist()
    assert found[0]["predicted"] in (None, "A", "B")
    assert found[1]["correct"]


def test_ids_that_come_twice_and_missing_golds_are_set_aside(tmp_path: Path, inputs: dict[str, Path]) -> None:
    text = QUESTIONS["right"]
    rows = [
        {"id": "a", "question": text},
        {"id": "a", "question": text, "answer": "9"},
        {"id": "b", "question": text, "answer": " "},
    ]
    questions(inputs["questions"], rows)
    figures = run(inputs, CONFIG, out(tmp_path))
    assert (figures["questions"], figures["quarantined"], figures["accuracy"]) == (1, 2, 1.0)
    aside = schemas.read(tmp_path / "out/quarantine.parquet", schemas.QUARANTINE).to_pylist()
    questions(inputs["questions"], rows[2:])
    with pytest.raises(DataError, match="no usable question"):  # a set with no gold at all
        run(inputs, CONFIG, out(tmp_path, "no-gold"))
    assert [(row["row"], row["reason"]) for row in aside] == [("a", "the id occurs twice"), ("b", "no answer")]


def test_a_question_that_is_too_long_counts_as_wrong(
    tmp_path: Path, inputs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "a", "question": QUESTIONS["right"]}, {"id": "b", "question": "So 3 + 4? " * 400}]
    questions(inputs["questions"], rows)
    figures = run(inputs, CONFIG, out(tmp_path))
    assert (figures["too_long"], figures["accuracy"], figures["truncated"]) == (1, 0.5, 0.5)
    assert f"1 prompts are longer than {CONFIG.max_tokens} tokens" in capsys.readouterr().err


def test_accuracy_by_number_of_steps(tmp_path: Path, inputs: dict[str, Path]) -> None:
    problems = generate(WordProblems(train=1, validation=0, test=6, longer=2, min_steps=2, max_steps=2, longer_steps=3))
    questions(inputs["questions"], problems)
    run(inputs, CONFIG.model_copy(update={"max_new_tokens": 2}), out(tmp_path))
    steps = json.loads((tmp_path / "out/metrics.json").read_text())["steps"]
    assert {n: row["questions"] for n, row in steps.items()} == {"2": 6, "3": 2}


def test_the_page_escapes_what_a_student_says_and_cuts_what_never_ends() -> None:
    row = {"question_id": "<b>", "predicted": "7" * 10_000, "answer": "7", "completion": "<script>x</script>",
           "correct": False, "truncated": True, "dataset": "a&b", "split": "test"}  # fmt: skip
    shown = page([accuracy("m", "a&b", "test", [row])], {2: accuracy("m", "all", "all", [row])}, [row])
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "a&amp;b test" in shown
    assert ", cut off" in shown
    assert len(shown) < 5000


def test_a_cut_input_or_an_incomplete_student_is_one_line(tmp_path: Path, inputs: dict[str, Path]) -> None:
    path = inputs["questions"] / "questions.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        run(inputs, CONFIG, out(tmp_path))
    path.write_bytes(data)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (inputs["student"] / "student" / name).unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        run(inputs, CONFIG, out(tmp_path, "second"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["test", "validation"]), st.booleans()), min_size=1))
def test_sets_add_up(rows: list[tuple[str, str, bool]]) -> None:
    table = schemas.table(
        [
            {"question_id": str(i), "dataset": dataset, "split": split, "completion": "", "predicted": None,
             "answer": "1", "correct": correct, "truncated": False}
            for i, (dataset, split, correct) in enumerate(rows)
        ],
        schemas.PREDICTIONS,
    )  # fmt: skip
    found = accuracies("m", table)
    assert len(found) == len({row[:2] for row in rows})
    assert sum(row.questions for row in found) == len(rows)
    assert sum(row.correct for row in found) == sum(correct for _, _, correct in rows)
    assert all(row.low <= row.accuracy <= row.high and row.answerless == 1 for row in found)


@pytest.mark.parametrize(
    ("text", "truncated", "predicted"),
    [
        ("Therefore, the answer is 1", True, None),  # or 12
        ("Therefore, the answer is 1", False, "1"),
        ("Therefore, the answer is 1.", True, None),  # or 1.5
        ("Therefore, the answer is 1 apple", True, "1"),
        ("The answer is 7. Then 2 and 3", True, "7"),
        ("So there are 3", True, None),
    ],
)
def test_a_number_that_was_cut_off_is_no_answer(text: str, truncated: bool, predicted: str | None) -> None:
    row = {"id": "q", "dataset": "d", "split": "test", "answer": "1", "choices": None}
    found = examine(row, Completion(text, truncated=truncated))
    assert found.answer == predicted
    assert found.correct == (predicted == "1")
