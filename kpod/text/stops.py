"""Where an answer ends although the model goes on: at the next question that it asks itself."""

import re

NEXT_QUESTION = re.compile(r"(?<!\S)Q:")  # a word of its own: "Her IQ: 120" goes on
STOPS = [" Q:", "\nQ:"]  # the same for servers, which stop at plain texts


def first_answer(text: str) -> str:
    """`text` up to the next question, without outer white space."""
    return NEXT_QUESTION.split(text)[0].strip()
