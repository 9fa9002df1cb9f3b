"""Denials and corrections in a statement: "not 5, it is 6", "5... no, 6", "6 rather than 5"."""

import re
from collections import deque
from collections.abc import Iterable

_RESTATES = (
    r"(?:(?:so|then|but|rather|instead|and) )?(?:(?:it|that|this|the (?:\w+ ){0,2}"
    r"(?:answer|value|number|result|total|one|option|choice))"
    r"(?:'s| is| should be| must be| would be| will be| was)(?: (?:actually|really|in fact|rather))?\s*:?\s+)"
)
_VALUE = r"(?=[\"'(\[*$\\-]{0,4}(?:[\d.$€£]|(?-i:[A-J])(?![\w'])))"
_BREAK = r"(?:\s*[,;:.…!?—–(]+\s*|\s+[-—–]+\s*)"
_STRONG = (
    r"(?:no|nope|wait|hold on|hmm+|oops|sorry|correction|scratch that|make (?:that|it)|my mistake|"
    r"I meant?|or rather|rather|"
    r"let me (?:correct|fix|redo|recompute|recalculate)[^.,:!?\n]{0,40}|"
    r"(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not right|a mistake|not correct)|"
    r"I made an? (?:\w+ )?(?:mistake|error)[^.!?\n]{0,40})"
)
_MARK = (
    rf"{_BREAK}{_STRONG}\b(?:{_BREAK}|\s+(?=(?:no|wait|it|that|this|the|I)\b)|"
    r"(?:(?<=mean)|(?<=make that)|(?<=make it)|(?<=rather)|(?<=sorry))\s+)"
)
_CORRECTION = re.compile(
    rf"{_MARK}(?:(?:{_STRONG})\b{_BREAK}){{0,3}}(?:{_VALUE}|{_RESTATES}|(?:[^.!?\n]{{0,60}}[.!?]\s+)?{_RESTATES}{_VALUE})"
    rf"|{_BREAK}(?:but )?actually,? {_RESTATES}{_VALUE}|,? but (?:it|that|this)(?:'s| is) {_VALUE}",
    re.IGNORECASE,
)
_FAR = 240  # characters behind a statement in which it may be corrected
_DENIES = re.compile(r"\W*(?:\w+ly )?(?:not|neither)\b", re.IGNORECASE)
_INSTEAD = re.compile(
    rf"(?:,|;|\.|\s[-—–])?\s{{1,3}}(?:but(?: rather)?(?: (?:it|that) is)?|{_RESTATES}|instead,?|rather,?)\s*",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"(?:(?:[,;]|\s[-—–]|\.{3}|\s\(?(?:and|but)|\s\()\s*|(?<=[\d)])\s+)not\s+(?=[\"'(*$]{0,3}\w)|"
    r"[,\s(]{1,3}(?:rather than|instead of|as opposed to)\s",
    re.IGNORECASE,
)


def corrected(text: str) -> str:
    """The part of `text`, which begins with an answer, behind its last correction: "6." of "5... no, it is 6."."""
    last = last_match(_CORRECTION.finditer(text[:_FAR]))
    return text[last.end() :] if last else text


def last_match(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    """The last of `matches`, None if there is none."""
    last = deque(matches, maxlen=1)
    return last[0] if last else None


def affirmed(clause: str, rest: str = "") -> str:
    """The affirmed part of a clause: "not 5, it is 6" gives "6", "6, not 5" gives "6"; empty if it only denies.

    `rest` is the text after the clause, which may affirm what the clause does not: "not 5. It is 6."
    """
    if _DENIES.match(clause):
        instead = _INSTEAD.search(clause)
        if instead:
            return clause[instead.end() :]
        following = re.match(rf"\s*(?:{_RESTATES}|rather,? |instead,? (?:{_RESTATES})?)", rest, re.IGNORECASE)
        return rest[following.end() :] if following else ""
    match = _EXCEPT.search(clause)
    return clause[: match.start()] if match and re.search(r"\w", clause[: match.start()]) else clause
