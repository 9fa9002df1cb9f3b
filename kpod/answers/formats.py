"""Answers stated in a chosen form: read from a text, cut off its end, found at all."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from kpod.answers.closings import MOST_BEHIND, strip_closing
from kpod.answers.statements import STATEMENT
from kpod.text.prompts import AnswerFormat

END_OF_THINKING = "</think>"
_JSON = re.compile(r'(?:```(?:json)?\s*)?(\{[^{}]*"answer"[^{}]*\})\s*(?:```)?')
_MARKS = {"boxed": re.compile(r"\\boxed\s*\{"), "hashes": re.compile(r"####\s*\S"), "sentence": STATEMENT}


def as_sentence(form: AnswerFormat, text: str) -> str:
    """A text whose last statement, if it is of this form, is "The answer is <answer> ."; the other texts as they are.

    What stands behind the end of the thinking counts alone, if something does.
    """
    _, _, answer_part = text.rpartition(END_OF_THINKING)
    text = answer_part if answer_part.strip() else text
    if form.kind in ("json", "template"):
        for (start, end), value in reversed(list(_statements(form, text))):
            return f"{text[:start]}The answer is {value} .{text[end:]}"
    return text


def states_answer(form: AnswerFormat, text: str) -> bool:
    """Whether a statement of this form stands in a text; as a sentence counts every one that extraction knows."""
    if form.kind == "sentence":
        return any(mark.search(text) for mark in _MARKS.values())
    if form.kind in _MARKS:
        return _MARKS[form.kind].search(text) is not None
    return any(True for _ in _statements(form, text))


def strip_statement(form: AnswerFormat, text: str) -> str:
    """The start of `text` before the statements that close it, of this form or another (see `strip_closing`)."""
    if form.kind in ("json", "template"):
        text = text.rstrip()
        for start, end in reversed([span for span, _ in _statements(form, text)]):
            if len(text[end:].strip()) > MOST_BEHIND:
                break
            text = text[:start].rstrip()
    elif form.kind == "hashes" and (mark := re.search(rf"\n####[^\n]*(?:\n.{{0,{MOST_BEHIND}}})?\Z", text, re.DOTALL)):
        text = text[: mark.start()]
    return strip_closing(text)


def _statements(form: AnswerFormat, text: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Place and value of each statement of the kinds `json` and `template`."""
    if form.kind == "json":
        for found in _JSON.finditer(text):
            try:
                value = json.loads(found[1]).get("answer")
            except ValueError:
                continue
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                yield found.span(), str(value)
        return
    for found in _pattern(form.told).finditer(text):
        yield found.span(), found["answer"].strip()


@lru_cache(16)
def _pattern(told: str) -> re.Pattern[str]:
    """A template as a pattern; white space and case do not matter, and the answer ends with its line at the latest."""
    front, behind = (r"\s+".join(map(re.escape, part.split())) for part in told.split("{answer}"))
    gap = r"\s*"
    return re.compile(rf"{front}{gap}(?P<answer>[^\n]+?){gap}(?:{behind}(?!\w)|$)" if behind else
                      rf"{front}{gap}(?P<answer>[^\n]+)", re.IGNORECASE | re.MULTILINE)  # fmt: skip
