"""The end of an answer if the model continues: the next question that it asks itself."""

import re

NEXT_QUESTION = re.compile(r"(?<!\S)Q:")  # a word of its own, unlike "Her IQ: 120"
STOPS = [" Q:", "\nQ:"]  # the same as stop strings of servers


def first_answer(text: str) -> str:
    """`text` up to the next question, without outer white space."""
    return NEXT_QUESTION.split(text)[0].strip()
