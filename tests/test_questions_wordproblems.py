"""The word-problem generator: solvable, distinct, deterministic, small."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kpod import schemas
from kpod.config import Family, WordProblems
from kpod.errors import ConfigError
from kpod.evaluate import answers_equal, extract_answer
from kpod.questions import wordings, wordproblems
from kpod.questions.arithmetic import COMPUTE, LARGEST
from kpod.questions.wordproblems import easy, generate, work_out

ASKED = "How many apples does Tom have at the end?"
FAMILIES = ("stories", "mixed")
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")


@settings(max_examples=30)
@given(st.integers(0, 10**9), st.sampled_from(FAMILIES), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_every_problem_is_worked_out_to_its_gold(
    seed: int, family: Family, fewest: int, more: int, longer: int
) -> None:
    config = WordProblems(
        family=family, train=20, validation=5, test=5, longer=5, harder=5 if family == "stories" else 0, seed=seed,
        min_steps=fewest, max_steps=fewest + more, longer_steps=fewest + more + longer,
    )  # fmt: skip
    for row in generate(config):
        worked = work_out(str(row["question"]))
        assert worked is not None, row
        assert worked.answer == row["answer"]
        if row["dataset"] != "wordproblems-longer":
            assert fewest <= len(worked.steps) <= fewest + more
        else:
            assert fewest + more < len(worked.steps) <= fewest + more + longer


@settings(max_examples=20)
@given(st.integers(0, 10**9), st.sampled_from(FAMILIES))
def test_steps_are_right_arithmetic_on_small_numbers_and_end_in_the_answer(seed: int, family: Family) -> None:
    for row in generate(WordProblems(family=family, train=30, validation=0, test=0, longer=10, seed=seed)):
        worked = work_out(str(row["question"]))
        assert worked is not None
        for step in worked.steps:
            found = EQUATION.search(step)
            assert found is not None, step
            a, b, result = int(found[1]), int(found[3]), int(found[4])
            assert COMPUTE[found[2]](a, b) == result
            assert 2 <= result <= LARGEST
        assert answers_equal(extract_answer(worked.steps[-1]), worked.answer)


def test_no_text_occurs_twice_and_rows_fit_the_schema() -> None:
    rows = generate(WordProblems(train=3000, validation=500, test=500, longer=500, harder=500))
    assert len({row["question"] for row in rows}) == len({row["id"] for row in rows}) == 5000
    counts = Counter((row["dataset"], row["split"]) for row in rows)
    assert counts == {
        ("wordproblems", "train"): 3000,
        ("wordproblems", "validation"): 500,
        ("wordproblems", "test"): 500,
        ("wordproblems-longer", "test"): 500,
        ("wordproblems-harder", "test"): 500,
    }
    assert schemas.table(rows, schemas.QUESTIONS).num_rows == 5000


def test_same_seed_same_problems_and_another_seed_others() -> None:
    config = WordProblems(train=50)
    assert generate(config) == generate(config)
    other = {row["question"] for row in generate(config.model_copy(update={"seed": 1}))}
    assert len(other & {row["question"] for row in generate(config)}) < 5


def test_more_training_problems_leave_the_rest_as_it_was() -> None:
    few, many = generate(WordProblems(train=20)), generate(WordProblems(train=40))
    assert [row for row in many if row["split"] != "train"] == [row for row in few if row["split"] != "train"]
    assert many[:20] == few[:20]


def told_by(texts: list[str], every: tuple[wordings.Wording, ...]) -> None:
    """Each wording is in some text."""
    for wording in every:
        words = max(re.split(r"\{\w+\}", wording.text), key=len).strip(". ")
        assert any(words in text for text in texts), wording.text


def test_stories_are_short_sentences_in_order_about_few_people_and_things() -> None:
    rows = generate(WordProblems(train=2000, validation=0, test=0, longer=0))
    texts = [str(row["question"]) for row in rows]
    told_by(texts, wordings.SHORT_START + wordings.SHORT_EVENTS + wordings.SHORT_QUESTION)
    words = Counter(re.findall(r"\b[A-Z]?[a-z]+\b", " ".join(texts)))
    assert len(words) < 90
    assert len(words.keys() & wordings.NAMES) == 12
    assert len(words.keys() & set(wordings.THINGS)) == 10
    for text in texts[:100]:
        worked = work_out(text)
        assert worked is not None
        numbers = [found for step in worked.steps for found in re.findall(r" [-+x] (\d+) =", step)]
        assert re.findall(r"\d+", text)[1:] == numbers  # the order of the text is the order of the work


def test_longer_by_words_and_harder_by_names_keep_the_number_of_steps() -> None:
    config = WordProblems(train=20, validation=0, test=0, longer=200, longer_by="words", harder=200, harder_by="names")
    rows = generate(config)
    told = {name: [row for row in rows if row["dataset"] == f"wordproblems-{name}"] for name in ("longer", "harder")}
    for row in [*told["longer"], *told["harder"]]:
        worked = work_out(str(row["question"]))
        assert worked is not None, row
        assert worked.answer == row["answer"]
        assert 2 <= len(worked.steps) <= 4
    events = [part for row in told["longer"] for part in str(row["question"]).split(". ")[1:-1]]
    detailed = [part for part in events if part.endswith(wordings.DETAILS)]
    assert 0.4 * len(events) < len(detailed) < 0.6 * len(events)
    words = set(re.findall(r"\w+", " ".join(str(row["question"]) for row in told["harder"])))
    usual = set(re.findall(r"\w+", " ".join(str(row["question"]) for row in generate(WordProblems(train=2000)))))
    assert words.isdisjoint(usual & (wordings.NAMES.keys() | set(wordings.THINGS)))
    assert len(words & wordings.NAMES.keys()) == 12


def test_mixed_problems_vary_in_wording_order_and_operation() -> None:
    rows = generate(WordProblems(family="mixed", train=2000, validation=0, test=0, longer=0))
    texts = [str(row["question"]) for row in rows]
    told_by(
        texts,
        wordings.START + wordings.START_PRODUCT + wordings.EVENTS + wordings.CLOSING + wordings.COMPARISONS,
    )
    assert sum(text.endswith("?") for text in texts) < 2000  # some begin with the question, some say "Find ..."
    backwards = re.compile(r"than ([A-Z]\w+)\..* \1 has")  # someone is compared with a person told of later
    assert any(backwards.search(text) for text in texts)
    answers = Counter(row["answer"] for row in rows)
    assert max(answers.values()) < 0.15 * len(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_easy_problems_are_solvable_distinct_and_never_a_generated_question(family: Family) -> None:
    problems = easy(4000, 0, family)
    questions = {question for question, _, _ in problems}
    assert len(questions) == 4000
    for question, rationale, answer in problems[:500]:
        worked = work_out(question)
        assert worked is not None
        assert (" ".join(worked.steps), worked.answer) == (rationale, answer)
        assert len(worked.steps) <= 2
    generated = generate(WordProblems(family=family, train=20_000, min_steps=1, max_steps=2, longer_steps=3))
    assert not questions & {row["question"] for row in generated}
    assert easy(10, 0, family) == problems[:10]


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
    WordProblems(max_steps=4, longer_steps=4, longer_by="words")
    with pytest.raises(ValidationError, match="longer_by: words is for the family stories"):
        WordProblems(family="mixed", longer_by="words")
    with pytest.raises(ValidationError, match="harder must be 0"):
        WordProblems(family="mixed", harder=1)


def test_running_out_of_different_problems_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wordproblems.FAMILIES, "stories", lambda *_, **__: ("the same", "1"))
    with pytest.raises(ConfigError, match=r"questions\.sources: no more different word problems"):
        generate(WordProblems(train=2))
