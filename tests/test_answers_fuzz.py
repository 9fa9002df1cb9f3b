"""Extraction and closings on any mixture of the pieces that they look for: no exception, no loss, no long search."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod.answers.closings import strip_closing
from kpod.answers.latex import latex_to_text
from kpod.answers.quantities import parse
from kpod.evaluate import answers_equal, extract_answer

PIECES = [
    "the answer is ",
    "The correct option is ",
    " is the answer. ",
    "<answer>",
    "</answer>",
    "Answer: ",
    "#### ",
    "\\boxed{",
    "\\frac{",
    "\\frac1",
    "\\sqrt[3]{",
    "\\text{",
    "\\left(",
    "\\",
    "{",
    "}",
    "^{",
    "$",
    "(",
    ")",
    "[",
    "]",
    "not 5, ",
    "it is ",
    "5... no, ",
    "wait, ",
    "rather than ",
    "neither A nor ",
    "A is wrong ",
    "because ",
    "B ",
    "(C) ",
    "5",
    "5! ",
    "5:30 p.m. ",
    "1,20,000",
    "1.234,5",
    " 1/2 ",
    "½",
    "10⁵",
    "２",
    "٣",
    "one hundred and ",
    "three and a half ",
    "two dozen ",
    "lakh ",
    "%",
    " per cent ",
    "- ",
    "\n- ",
    "\n1. ",
    "\n",
    " ",
    "\u3000",
    "*",
    "_",
    "`",
    "<b>",
    "<<1+1=2>>",
    "= ",
    "+ ",
    "x ",
    "/",
    ",",
    ".",
    "? ",
    "!",
    "Q: ",
    "答案是",
    "la respuesta es ",
    "lautet die Antwort ",
    "la réponse est donc ",
    "ответ: ",
    "So ",
    "hence ",
    "∞",
    "√",
    "nan",
    "\ud83d",
    "\x00",
    "we choose ",
    "the solution is ",
    "I mean ",
    "as the answer",
]
MIXED = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
OPTIONS = ["ignore", "5", "science", "science fiction", "1/2"]


@settings(max_examples=400)
@given(MIXED)
def test_nothing_raises_and_an_answer_equals_itself(text: str) -> None:
    found = extract_answer(text)
    assert found is None or (found.strip() and answers_equal(found, found) == answers_equal(found, str(found)))
    assert extract_answer(text, OPTIONS) in {None, *"ABCDE"}
    parse(text)
    latex_to_text(text)


@settings(max_examples=400)
@given(MIXED)
def test_a_closing_is_cut_from_the_end_and_once(text: str) -> None:
    left = strip_closing(text)
    assert text.startswith(left)
    assert strip_closing(left) == left


@settings(max_examples=200)
@given(MIXED, st.integers(-(10**6), 10**6))
def test_what_is_stated_last_counts_whatever_stands_before(text: str, number: int) -> None:
    found = extract_answer(f"{text}\nTherefore, the answer is {number}.")
    open_box = text.rfind("\\boxed{") > text.rfind("}")
    asks = "Q:" in text
    assert open_box or asks or answers_equal(found, str(number))


@pytest.mark.timeout(120)  # seconds for all of them; each is a fraction of one, quadratic search takes minutes
def test_long_repetitions_cost_linear_time() -> None:
    for piece in PIECES:
        text = piece * (8_000 // len(piece))
        extract_answer(text)
        extract_answer(f"the answer is {text}", OPTIONS)
        strip_closing(f"{text} the answer is 5.")
        answers_equal(text, "5")
