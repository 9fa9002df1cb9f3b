"""Verifiers: each kind in one function, worker processes that outlive bad code, and one setting for all stages."""

import math
import sys
import time
from pathlib import Path

import pytest
from configs import pipeline
from evaluate_tiny import QUESTIONS, learned, questions, student
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from kpod import schemas
from kpod.answers.verifiers import MathVerifier, NumberVerifier, PythonVerifier, TextVerifier, Verifier
from kpod.answers.verify import check, f1, verify
from kpod.config import Evaluate, Teacher
from kpod.config.settings import validate
from kpod.errors import ConfigError
from kpod.evaluate.stage import run
from kpod.teacher.ask import Question
from kpod.teacher.reply import Reply
from kpod.teacher.verdict import judge

CODE = """
import os, sys, time

def exact(question, completion, gold):
    print("noise on stdout")
    return completion.strip().endswith(gold)

def share(question, completion, gold):
    return 0.25 if "quarter" in completion else 0.75

def bad(question, completion, gold):
    if "raise" in completion:
        raise ValueError("two\\nlines")
    if "exit" in completion:
        sys.exit(3)
    if "die" in completion:
        os._exit(1)
    if "hang" in completion:
        time.sleep(600)
    if "nan" in completion:
        return float("nan")
    return {"text": "yes", "none": None, "many": 7.0}.get(completion, True)

nothing = 5
"""


@pytest.fixture(scope="module", autouse=True)
def code(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("code")
    (folder / "my_verifier.py").write_text(CODE)
    (folder / "broken_verifier.py").write_text("import no_such_module")
    sys.path.append(str(folder))


def mine(name: str, timeout_s: float = 30.0) -> PythonVerifier:
    return PythonVerifier(function=f"my_verifier:{name}", timeout_s=timeout_s)


def test_without_a_setting_options_decide_where_there_are_some() -> None:
    assert verify(None, "?", "The answer is 7 pens.", "7").correct
    assert verify(None, "?", "The answer is (B).", "B", ["cat", "dog"]).answer == "B"
    assert verify(NumberVerifier(), "?", "The answer is 7.", "7", ["6", "7"]).correct
    choice = TypeAdapter(Verifier).validate_python({"kind": "choice"})
    assert verify(choice, "?", "The answer is B.", "B").failure == "the question has no options"


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        (r"So it is $\\frac{\\sqrt{3}}{2}$.".replace("\\\\", "\\"), r"\frac{\sqrt{3}}{2}", True),
        (r"\boxed{\frac{\sqrt{3}}{2}}", "2", False),
        (r"\boxed{\{2, 1\}}", r"\{1, 2\}", True),
        (r"\boxed{(0, 1]}", "(0,1]", True),
        (r"\boxed{(0, 1)}", "(0,1]", False),
        (r"\boxed{x^2 + 2x + 1}", "(x+1)^2", True),
        (r"\boxed{0.5}", r"\frac12", True),
        ("I do not know.", "2", False),
    ],
)
def test_math(said: str, gold: str, right: bool) -> None:
    found = verify(MathVerifier(), "?", said, gold)
    assert (found.correct, found.failure) == (right, None)


def test_a_gold_answer_that_cannot_be_read_is_no_right_answer() -> None:
    found = verify(MathVerifier(), "?", r"\boxed{7}", "")
    assert not found.correct
    assert "cannot read the gold answer" in (found.failure or "")


def test_text() -> None:
    usa = TextVerifier(aliases={"USA": ["United States", "America"]})
    assert verify(usa, "?", "The answer is the united states!", "USA").correct
    assert verify(usa, "?", "The answer is **The U.S.A.**", "U S A").correct
    far = verify(usa, "?", "The answer is the United Kingdom.", "USA")
    assert (far.correct, far.score, far.answer) == (False, pytest.approx(0.5), "the United Kingdom")
    assert verify(TextVerifier(min_f1=0.5), "?", "The answer is the red cat.", "cat").correct
    assert verify(TextVerifier(), "?", "I wonder.", "cat").answer is None
    assert verify(TextVerifier(), "?", r"The answer is a red \boxed{} cat.", "cat").answer == "a red cat"
    assert not verify(TextVerifier(), "?", "The answer is ...", "...").correct


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_and_one_for_the_same_words(a: str, b: str) -> None:
    assert 0 <= f1(a, b) == f1(b, a) <= 1
    assert f1(a, a) == 1


def test_python() -> None:
    assert verify(mine("exact"), "?", "It is 7", "7").correct
    assert not verify(mine("exact"), "?", "It is 8", "7").correct
    low, high = (verify(mine("share"), "?", text, "7") for text in ("a quarter", "more"))
    assert (low.correct, low.score, high.correct, high.score) == (False, 0.25, True, 0.75)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise", "ValueError: two lines"),
        ("exit", "SystemExit: 3"),
        ("die", "the worker died"),
        ("text", "my_verifier:bad returned str, not bool or float"),
        ("none", "my_verifier:bad returned NoneType, not bool or float"),
        ("many", "my_verifier:bad returned 7.0, which is not within 0 and 1"),
        ("nan", "my_verifier:bad returned nan, which is not within 0 and 1"),
    ],
)
def test_a_verifier_that_fails_is_a_reason_and_the_next_row_goes_on(text: str, reason: str) -> None:
    found = verify(mine("bad"), "?", text, "7")
    assert (found.correct, found.failure) == (False, reason)
    assert verify(mine("bad"), "?", "fine", "7").correct


def test_a_verifier_that_hangs_is_killed() -> None:
    settings = mine("bad", timeout_s=1.0)
    check(settings)
    started = time.monotonic()
    assert verify(settings, "?", "hang", "7").failure == "no verdict in 1 s"
    assert time.monotonic() - started < 60
    assert verify(settings, "?", "fine", "7").correct


@pytest.mark.parametrize(
    "name", ["no_such_package:f", "my_verifier:missing", "my_verifier:nothing", "broken_verifier:f"]
)
def test_what_cannot_be_imported_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^verifier: ") as caught:
        check(PythonVerifier(function=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["f", "a:b:c", "os.system('x'):f", "a.b:", ":f", "a b:f"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        PythonVerifier(function=name)


def test_the_teacher_counts_what_the_verifier_could_not_tell() -> None:
    settings = Teacher.model_validate(
        {"endpoint": {"kind": "scripted"}, "model": "m", "verifier": mine("bad").model_dump()}
    )
    asked = Question("q", "How many?", "7", None)
    reply = Reply("She thinks.\nThe answer is raise.", None, False, "stop", 1, 1, False, "m")
    assert judge(reply, asked, settings).drop_reason == "verifier-failed"
    fine = Reply("She adds 3 and 4.\nThe answer is fine.", None, False, "stop", 1, 1, False, "m")
    verdict = judge(fine, asked, settings)
    assert (verdict.kept, verdict.correct, verdict.answer) == (True, True, "fine")


def test_evaluation_counts_bad_rows_and_scores(tmp_path: Path) -> None:
    inputs = {"student": student(tmp_path / "base", learned()), "questions": questions(tmp_path / "questions")}
    (tmp_path / "out").mkdir()
    settings = Evaluate(max_new_tokens=90, precision="fp32", verifier=PythonVerifier(function="math:sqrt"))
    figures = run(inputs, settings, tmp_path / "out")
    assert (figures["unverified"], figures["score"], figures["accuracy"]) == (len(QUESTIONS), 0.0, 0.0)
    bad = schemas.read(tmp_path / "out" / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    assert {row["row"] for row in bad} == set(QUESTIONS)
    assert all(row["reason"].startswith("verifier: TypeError") for row in bad)
    assert not math.isnan(figures["score"])


@pytest.mark.parametrize(
    ("names", "verifier", "kind"),
    [
        (["math"], None, "math"),
        (["math-500", "gsm8k"], None, "math"),
        (["gsm8k", "commonsenseqa"], None, None),
        (["math", "commonsenseqa"], {"kind": "number"}, "number"),
    ],
)
def test_sets_of_latex_are_verified_as_such_unless_told_otherwise(
    names: list[str], verifier: dict[str, str] | None, kind: str | None
) -> None:
    sources = [{"kind": "hub", "dataset": name} for name in names]
    config = pipeline({"questions": {"sources": sources}, "verifier": verifier})
    for stage in (config, config.teacher, config.evaluate):
        assert getattr(stage.verifier, "kind", None) == kind
    assert validate(config.model_dump(mode="json")) == config


def test_sets_that_want_two_verifiers_are_refused() -> None:
    sources = [{"kind": "hub", "dataset": name} for name in ("math", "commonsenseqa")]
    with pytest.raises(ConfigError, match="verifier: math needs kind math and commonsenseqa kind choice"):
        pipeline({"questions": {"sources": sources}})
