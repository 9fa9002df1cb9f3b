"""The statement of the answer that closes a rationale: nothing that is trained on a rationale may read it there."""

import re

from kpod.evaluate.answers import SENTENCE_END, STATEMENT, clause_of

MOST_CLOSING = 320  # characters from "the answer is" to the end of the text, for the statement to close it
MOST_BEHIND = 120  # characters behind the statement, such as "I hope this helps!"
MODAL_NUMBER = 12  # characters behind "the answer must be" in which a number makes it a statement
MOST_LEAD = 200  # characters in front of it that may be its sentence's opening words
_BEGINS = re.compile(rf"{STATEMENT.pattern}|(?:^|(?<=[.!?:\n]))\s*[$*]*\\boxed\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CONNECTORS = re.compile(r"\b(?:and|so|thus|hence|therefore|then|which|means|the)$", re.IGNORECASE)


def strip_closing(text: str) -> str:
    """The start of `text` before the statements that close it with the answer, as many as there are.

    "..., so the answer is 8." goes without the sentence that it closes; what goes on to work with other numbers
    closes nothing.
    """
    text = text.rstrip()
    while text and (begin := _closing(text)) is not None:
        text = text[:begin].rstrip()
    return text


def _closing(text: str) -> int | None:
    """Where the last statement of the answer begins, if it closes the text."""
    found = None
    for match in _BEGINS.finditer(text, max(0, len(text) - MOST_CLOSING)):
        found = match
    if found is None:
        return None
    stated, behind = clause_of(text[found.end() :])
    if found["modal"] and not _NUMBER.search(stated[:MODAL_NUMBER]):
        return None  # "The answer must be a place for cats." begins to reason
    if len(behind.strip()) > MOST_BEHIND or not set(_NUMBER.findall(behind)) <= set(_NUMBER.findall(stated)):
        return None
    before = text[: found.start()]
    near = max(0, len(before) - MOST_LEAD)
    lead = SENTENCE_END.split(before[near:])[-1]
    whole = len(lead) < len(before) - near or near == 0  # the sentence begins where it seems to
    if whole and len(re.findall(r"\w+", lead)) <= 5 and not re.search(r"\d", lead):
        return len(before) - len(lead)
    return len(_without_connectors(before))


def _without_connectors(text: str) -> str:
    while True:
        text = text.rstrip(" \n\t,;:*")
        word = _CONNECTORS.search(text[-12:])
        if word is None:
            return text
        text = text[: -len(word[0])]
