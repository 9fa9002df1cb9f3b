"""Answers stated in a form of the setting `answer`: finding, reading and removing them."""

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
    """`text` with its last statement of this form (json, template) rewritten to "The answer is <answer> .".

    Only the text after `</think>` is returned, unless there is none.
    """
    _, _, answer_part = text.rpartition(END_OF_THINKING)
    text = answer_part if answer_part.strip() else text
    if form.kind in ("json", "template"):
        for (start, end), value in reversed(list(_statements(form, text))):
            return f"{text[:start]}The answer is {value} .{text[end:]}"
    return text


def states_answer(form: AnswerFormat, text: str) -> bool:
    """Whether a text holds a statement of this form; for `sentence`, of any form that extraction knows."""
    if form.kind == "sentence":
        return any(mark.search(text) for mark in _MARKS.values())
    if form.kind in _MARKS:
        return _MARKS[form.kind].search(text) is not None
    return any(True for _ in _statements(form, text))


def strip_statement(form: AnswerFormat, text: str) -> str:
    """`text` without the statements of the answer at its end, of this form or another (see `strip_closing`)."""
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
    """Span and value of each statement of the kinds `json` and `template`."""
    if form.kind == "json":
        for match in _JSON.finditer(text):
            try:
                value = json.loads(match[1]).get("answer")
            except ValueError:
                continue
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                yield match.span(), str(value)
        return
    for match in _pattern(form.wording).finditer(text):
        yield match.span(), match["answer"].strip()


@lru_cache(16)
def _pattern(wording: str) -> re.Pattern[str]:
    """A template as a pattern; white space and case do not matter, and the answer ends with its line at the latest."""
    front, behind = (r"\s+".join(map(re.escape, part.split())) for part in wording.split("{answer}"))
    gap = r"\s*"
    return re.compile(rf"{front}{gap}(?P<answer>[^\n]+?){gap}(?:{behind}(?!\w)|$)" if behind else
                      rf"{front}{gap}(?P<answer>[^\n]+)", re.IGNORECASE | re.MULTILINE)  # fmt: skip
