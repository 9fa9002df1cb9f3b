"""Classes of tokens by their characters: digit, operator, name, function word, mark or other."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

TokenClass = Literal["digit", "operator", "name", "function", "mark", "other"]
CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)

_OPERATORS = set("+-*/=×÷−<>%^±≤≥≈·")
_FUNCTION = frozenset(
    word
    for group in (
        "a an the this that these those some any each every no",
        "of in on at to from by with for into over under about",
        "and or but nor so if then than as because while when where",
        "which who whom whose what how there here",
        "it its he him his she her hers they them their we us our you your i me my",
        "is are was were be been being am do does did has have had having",
        "will would can could may might must shall should",
        "not also just very too",
    )
    for word in group.split()
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d[\d.,]*\d|\d|\S")
_TIMES = re.compile(r"(?<=\d)\s*([xX])\s*(?=[\d$(])")  # the letter that stands for a multiplication
_SENTENCE_END = re.compile(r"[.!?:\n]\W*\Z")


def classify(text: str, spans: np.ndarray) -> list[TokenClass]:
    """The class of each token of `text` by its span, int64 [n, 2]; a part of a word has the word's class.

    digit: digits of a number; operator: arithmetic signs, and an x between numbers; name: a word that is capitalised
    somewhere in this text within a sentence; function: articles, prepositions, pronouns, auxiliaries; mark: punctuation
    and white space; other: the rest.
    """
    words = [(m.start(), m.end(), m.group()) for m in _WORD.finditer(text)]
    names = {w for start, _, w in words if w[:1].isupper() and len(w) > 1 and _inside(text, start)}
    owner: list[TokenClass] = ["mark"] * len(text)
    for start, end, word in words:
        owner[start:end] = [_word_class(word, names)] * (end - start)
    for times in _TIMES.finditer(text):
        owner[times.start(1)] = "operator"
    return [_of_span(owner, text, int(start), int(end)) for start, end in spans]


def _inside(text: str, start: int) -> bool:
    """Whether a word at `start` follows other words of its sentence."""
    before = text[max(0, start - 8) : start]
    return bool(before.strip()) and not _SENTENCE_END.search(before)


def _word_class(word: str, names: set[str]) -> TokenClass:
    if word[0].isdigit():
        return "digit"
    if word in _OPERATORS:
        return "operator"
    if not word[0].isalpha():
        return "mark"
    if word in names and word.lower() not in _FUNCTION:
        return "name"
    return "function" if word.lower() in _FUNCTION else "other"


def _of_span(owner: Sequence[TokenClass], text: str, start: int, end: int) -> TokenClass:
    """The class of the first character that is not white space."""
    for place in range(start, end):
        if not text[place].isspace():
            return owner[place]
    return "mark"
