"""The word-problem generator: solvable, distinct, deterministic, small."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kpod import schemas
from kpod.config import WordProblems
from kpod.errors import ConfigError
from kpod.evaluate import answers_equal, extract_answer
from kpod.questions import wordings
from kpod.questions.wordproblems import easy, generate, work_out

ASKED = "So how many apples does Tom have at the end?"
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")


@settings(max_examples=30)
@given(st.integers(0, 10**9), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_every_problem_is_worked_out_to_its_gold(seed: int, fewest: int, more: int, longer: int) -> None:
    config = WordProblems(
        train=20, validation=5, test=5, longer=5, seed=seed,
        min_steps=fewest, max_steps=fewest + more, longer_steps=fewest + more + longer,
    )  # fmt: skip
    for row in generate(config):
        worked = work_out(str(row["question"]))
        assert worked is not None, row
        assert worked.answer == row["answer"]
        if row["dataset"] == "wordproblems":
            assert fewest <= len(worked.steps) <= fewest + more
        else:
            assert fewest + more < len(worked.steps) <= fewest + more + longer


@settings(max_examples=20)
@given(st.integers(0, 10**9))
def test_steps_are_right_arithmetic_on_small_numbers_and_end_in_the_answer(seed: int) -> None:
    for row in generate(WordProblems(train=30, validation=0, test=0, longer=10, seed=seed)):
        worked = work_out(str(row["question"]))
        assert worked is not None
        for step in worked.steps:
            found = EQUATION.search(step)
            assert found is not None, step
            a, b, result = int(found[1]), int(found[3]), int(found[4])
            assert {"+": a + b, "-": a - b, "x": a * b, "/": a / b}[found[2]] == result
            assert 0 <= result <= 99
        assert answers_equal(extract_answer(worked.steps[-1]), worked.answer)


def test_no_text_occurs_twice_and_rows_fit_the_schema() -> None:
    rows = generate(WordProblems(train=3000, validation=500, test=500, longer=500))
    assert len({row["question"] for row in rows}) == len({row["id"] for row in rows}) == 4500
    counts = Counter((row["dataset"], row["split"]) for row in rows)
    assert counts == {
        ("wordproblems", "train"): 3000,
        ("wordproblems", "validation"): 500,
        ("wordproblems", "test"): 500,
        ("wordproblems-longer", "test"): 500,
    }
    assert schemas.table(rows, schemas.QUESTIONS).num_rows == 4500


def test_same_seed_same_problems_and_another_seed_others() -> None:
    config = WordProblems(train=50)
    assert generate(config) == generate(config)
    other = {row["question"] for row in generate(config.model_copy(update={"seed": 1}))}
    assert len(other & {row["question"] for row in generate(config)}) < 5


def test_more_training_problems_leave_the_rest_as_it_was() -> None:
    few, many = generate(WordProblems(train=20)), generate(WordProblems(train=40))
    assert [row for row in many if row["split"] != "train"] == [row for row in few if row["split"] != "train"]
    assert many[:20] == few[:20]


def test_problems_vary_in_wording_order_and_operation() -> None:
    rows = generate(WordProblems(train=2000, validation=0, test=0, longer=0))
    texts = [str(row["question"]) for row in rows]
    every = [*wordings.START, *wordings.START_PRODUCT, *wordings.EVENTS, *wordings.CLOSING, *wordings.COMPARISONS]
    for wording in every:
        words = max(re.split(r"\{\w+\}", wording.text), key=len).strip(". ")
        assert any(words in text for text in texts), wording.text
    assert sum(text.endswith("?") for text in texts) < 2000  # some begin with the question, some say "Find ..."
    backwards = re.compile(r"than ([A-Z]\w+)\..* \1 has")  # someone is compared with a person told of later
    assert any(backwards.search(text) for text in texts)
    answers = Counter(row["answer"] for row in rows)
    assert max(answers.values()) < 0.15 * len(rows)


def test_easy_problems_are_solvable_distinct_and_never_a_generated_question() -> None:
    problems = easy(4000, seed=0)
    questions = {question for question, _, _ in problems}
    assert len(questions) == 4000
    for question, rationale, answer in problems[:500]:
        worked = work_out(question)
        assert worked is not None
        assert (" ".join(worked.steps), worked.answer) == (rationale, answer)
        assert len(worked.steps) <= 2
    generated = generate(WordProblems(train=8000, min_steps=1, max_steps=2, longer_steps=3))
    assert not questions & {row["question"] for row in generated}
    assert all(f"{wordings.EASY}" in question for question in questions)
    assert not any(wordings.EASY in str(row["question"]) for row in generated)
    assert easy(10, seed=0) == problems[:10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Tom has 3 apples.",
        "How many apples does Tom have?",
        "Tom has 3 apples. Tom juggles 2 apples. How many apples does Tom have at the end?",
        f"Tom has 7 apples. Tom splits the apples into 2 equal parts and keeps one part. {ASKED}",
        f"Tom has 7 apples. Tom splits the apples into 0 equal parts and keeps one part. {ASKED}",
        "Ben has 2 more apples than Tom. Tom has 3 more apples than Ben. How many apples does Ben have?",
        "Tom has 3 apples. How many apples does Zoe have?",
        "Tom has " + "9" * 5000 + " apples. Tom gets 1 more apples. " + ASKED,
    ],
)
def test_other_texts_are_not_worked_out(text: str) -> None:
    assert work_out(text) is None


@given(st.text(max_size=100))
def test_any_text_is_survived(text: str) -> None:
    work_out(text)
    work_out(f"Tom has 3 apples. {text} {ASKED}")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_steps"):
        WordProblems(min_steps=3, max_steps=2)
    with pytest.raises(ValidationError, match="longer_steps"):
        WordProblems(max_steps=4, longer_steps=4)
    WordProblems(max_steps=4, longer_steps=4, longer=0)


def test_running_out_of_different_problems_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpod.questions.wordproblems._problem", lambda *_: ("the same", "1"))
    with pytest.raises(ConfigError, match=r"questions\.sources: no more different word problems"):
        generate(WordProblems(train=2))
