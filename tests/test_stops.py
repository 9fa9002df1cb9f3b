"""Where an answer ends: at a question that the model asks itself, and at nothing that only looks like one."""

import pytest
from distill_tiny import tokenizer

from kpod.evaluate.decoding import asks
from kpod.text.stops import STOPS, first_answer

CASES = [
    ("So 7. Q: How many?", "So 7."),
    ("So 7.\nQ: How many?", "So 7."),
    ("So 7.\n\n Q: How many?", "So 7."),
    ("Q: How many?", ""),
    ("Her IQ: 120 is high.", "Her IQ: 120 is high."),
    ("FAQ: nothing", "FAQ: nothing"),
    ("(Q: what?) So 7.", "(Q: what?) So 7."),
    ("The Q is a letter: 7", "The Q is a letter: 7"),
    ("3Q: third quarter", "3Q: third quarter"),
]


@pytest.mark.parametrize(("text", "left"), CASES)
def test_an_answer_ends_at_the_next_question(text: str, left: str) -> None:
    assert first_answer(text) == left


@pytest.mark.parametrize(("text", "left"), CASES)
def test_servers_stop_no_earlier(text: str, left: str) -> None:
    cut = min((text.find(stop) for stop in STOPS if stop in text), default=len(text))
    assert first_answer(text[:cut]) == left


def test_tokens_are_read_whole() -> None:
    tokens = tokenizer()
    for text, expected in ((" So 7 . Q: How many?", True), ("Her IQ: 120", False), (" IQ: Q : 1", False)):
        ids = tokens(text, add_special_tokens=False)["input_ids"]
        assert asks(tokens, ids) == expected, text
