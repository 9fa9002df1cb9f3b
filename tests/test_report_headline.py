"""The sentence that a run ends with."""

import dataclasses

import pytest

from kpod.evaluate.accuracy import Accuracy
from kpod.report.data import Comparison
from kpod.report.headline import headline


def accuracy(method: str, correct: int, split: str = "test", questions: int = 400) -> Accuracy:
    share = correct / questions
    return Accuracy(method, "stories", split, questions, correct, share - 0.05, share + 0.05, 0.0, 0.0)


def comparison(a: str, b: str, only_a: int, only_b: int, low: float, high: float, split: str = "test") -> Comparison:
    return Comparison(a, b, "stories", split, 400, only_a, only_b, low, high, 0.01)


BASE, PLAIN, KPOD = accuracy("base", 48), accuracy("scotd", 216), accuracy("kpod", 244)
LONGER = [accuracy(method, 1, "longer") for method in ("base", "scotd", "kpod")]
AGAINST_PLAIN = comparison("scotd", "kpod", 32, 60, 0.03, 0.11)
AGAINST_BASE = comparison("base", "kpod", 4, 200, 0.44, 0.54)


def test_the_last_method_against_plain_distillation_and_the_student_before() -> None:
    rows = [BASE, LONGER[0], PLAIN, LONGER[1], KPOD, LONGER[2]]
    other = comparison("scotd", "kpod", 0, 0, 0.0, 0.0, "longer")
    found = headline(rows, [AGAINST_BASE, other, AGAINST_PLAIN])
    assert found.sentence == ("kpod 61% against 54% for plain distillation and 12% before; +7 points, 95% 3 to 11")
    assert found.where == "stories test, 400 questions"
    assert (found.accuracy, found.against_accuracy, found.before, found.against) == (0.61, 0.54, 0.12, "scotd")
    assert (found.difference, found.difference_low, found.difference_high) == (0.07, 0.03, 0.11)
    assert found.as_dict() == {**dataclasses.asdict(found), "where": found.where}


@pytest.mark.parametrize(
    ("rows", "comparisons", "sentence"),
    [
        ([BASE, KPOD], [AGAINST_BASE], "kpod 61% against 12% before; +49 points, 95% 44 to 54"),
        ([KPOD], [], "kpod 61%, 95% 56 to 66"),
        ([BASE], [], "the student before distillation 12%, 95% 7 to 17"),
        (
            [BASE, PLAIN],
            [comparison("base", "scotd", 0, 168, 0.38, 0.46)],
            "plain distillation 54% against 12% before; +42 points, 95% 38 to 46",
        ),
        (
            [PLAIN, accuracy("kpod", 220)],
            [comparison("scotd", "kpod", 16, 20, -0.004, 0.03)],
            "kpod is level with plain distillation: 55% against 54%; +1 point, 95% 0 to 3",
        ),
        (
            [BASE, PLAIN, accuracy("kpod", 200)],
            [comparison("scotd", "kpod", 40, 24, -0.08, -0.01)],
            "kpod is behind plain distillation: 50% against 54% and 12% before; -4 points, 95% -8 to -1",
        ),
        (
            [BASE, PLAIN, accuracy("kpod", 200)],
            [comparison("scotd", "kpod", 40, 24, -0.08, -0.002)],  # not "to 0", which would not be behind
            "kpod is behind plain distillation: 50.0% against 54.0% and 12.0% before; -4.0 points, 95% -8.0 to -0.2",
        ),
        (
            [BASE, KPOD],
            [comparison("base", "kpod", 4, 5, -0.01, 0.02)],
            "kpod is level with the student before distillation: 61.0% against 12.0%; +0.2 points, 95% -1.0 to 2.0",
        ),
        (
            [accuracy("icl", 219), accuracy("kpod", 245)],  # 54.75% and 61.25%, 6.5 points apart: not 61 - 55 = 7
            [comparison("icl", "kpod", 30, 56, 0.03, 0.1)],
            "kpod 61% against 55% for icl; +6 points, 95% 3 to 10",
        ),
        (
            [accuracy("icl", 217), accuracy("kpod", 246)],  # 54.25% and 61.5%, 7.25 points apart: not 62 - 54 = 8
            [comparison("icl", "kpod", 30, 59, 0.03, 0.1)],
            "kpod 61.5% against 54.2% for icl; +7.2 points, 95% 3.0 to 10.0",
        ),
        ([KPOD, BASE], [comparison("kpod", "base", 200, 4, -0.54, -0.44)], "kpod 61% against 12% before"),
    ],
)
def test_what_was_not_evaluated_is_left_out(rows, comparisons, sentence) -> None:
    assert headline(rows, comparisons).sentence == sentence


def test_nothing_evaluated_has_no_headline() -> None:
    assert headline([], []) is None


def test_what_several_rationales_bring_is_a_sentence_of_its_own() -> None:
    rows = [BASE, accuracy("scotd-1", 180), PLAIN, KPOD]
    gain = comparison("scotd-1", "scotd", 14, 50, 0.05, 0.13)
    assert headline(rows, [AGAINST_PLAIN, gain]).rationales == (
        "plain distillation on several rationales a question: 54.0% against 45.0% on one; +9.0 points, 95% 5.0 to 13.0"
    )
    unclear = comparison("scotd-1", "scotd", 30, 34, -0.02, 0.04)
    assert headline(rows, [AGAINST_PLAIN, unclear]).rationales.endswith("95% -2.0 to 4.0: no clear difference")
    assert headline([BASE, PLAIN, KPOD], [AGAINST_PLAIN]).rationales is None
