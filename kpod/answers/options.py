"""Extraction of the chosen option of a multiple-choice question."""

import re
from collections.abc import Sequence

from kpod.answers.quantities import conflict, parse
from kpod.text.prompts import letter

_WORD = (
    r"(?:(?:definitely|clearly|probably|certainly|obviously|simply|surely|indeed|therefore|thus|only|most likely|"
    r"likely)\s+\W{0,3})?(?:(?:option|choice|letter|answer)\s+)?"
)
_MARKED = re.compile(rf"\W*{_WORD}(?:\(([A-Za-z])\)|\[([A-Z])\]|([A-Z])(?=[).:,;\]>}}\"'*]|$)|([A-Za-z])$)")
_BARE = re.compile(rf"\W*{_WORD}([B-Z])(?=\s)")
_ANOTHER = re.compile(
    r"[)\s,]*\b(?:or|and)\s+(?:option\s+)?\(?[A-Za-z]\b(?!')|[)\s]*(?:[,/&]\s*\(?|\()(?![A-Z]\s+[a-z])[A-Z]\b"
)
_REASON = re.compile(r",?\s(?:because|since|given that|although|though|while|whereas|even if)\s", re.IGNORECASE)
# A letter that stands for an option; a bare A or I must not be the word.
_PREDICATE = r"is|was|because|since|fits?|works?|would|does|cannot|must|and|or|nor|but|as|makes?|seems?"
_LETTER = re.compile(
    rf"\(([A-Za-z])\)|(?:option|choice|answer|letter)s?\s+([A-Z])\b(?!')|"
    rf"(?<![\w'])(?:([B-HJ-Z])(?![\w'])|([AI])(?![\w'])(?!\s+(?!(?:{_PREDICATE})\b)[a-z]))"
)
_ONE = r"(?:\((?:[A-Za-z])\)|(?<![\w'])[A-Z](?![\w']))"
_GROUP = rf"(?:(?i:options?|choices?|answers?)\s+)?{_ONE}(?:(?:\s*,)?\s*(?:\b(?:and|or|nor)\b|&|,)\s*{_ONE}){{0,9}}"
_WRONG = (
    r"(?:wrong|incorrect|false|not|out|eliminated|excluded|impossible|unlikely|irrelevant|untrue|ruled out|"
    r"inappropriate|unrelated|too)\b"
)
_DENIED = re.compile(
    rf"(?:(?i:\b(?:not|neither|nor|rather than|instead of|except(?: for)?|unlike|than|over|"
    rf"(?:all|any|every)\w*\s+but|excluding|eliminat(?:e|es|ing)|"
    rf"rul(?:e|es|ing) out)|n't(?: be)?)\s+\W{{0,2}}){_GROUP}|"
    rf"(?:{_ONE}\s*(?:is|was|can be|seems|does)|{_GROUP}\s*(?:are|were|do|can be|seem))"
    rf"(?:n't\b|\s+(?:\w+\s+){{0,2}}?{_WRONG})|"
    rf"{_ONE}\s*(?:fails|makes no|contradicts)\b|{_GROUP}\s*(?:fail|make no|contradict)\b|"
    rf"{_GROUP}\s*(?:(?:did|can|would|could|will)(?:n't|\s+not)|cannot)\b"
)
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n")
_HEDGE = re.compile(r"\W*(?:not\b|(?:all|any|none|nothing|everything)\b.{0,20}\b(?:except|but|of)\b)", re.IGNORECASE)


def stated_option(clause: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that a clause after "the answer is" names: by its letter, else by its text or number.

    None if it names none or several, or denies one.
    """
    if _HEDGE.match(clause):
        return None
    clause = _DENIED.sub(" ", clause)
    if match := _MARKED.match(clause) or _BARE.match(clause):
        label = next(filter(None, match.groups()))
        return None if _ANOTHER.match(clause, match.end()) else _valid_label(label, choices)
    clause = _REASON.split(clause)[0]
    last_value = clause.rpartition("=")[2]  # 5 + 5 = 10 names 10
    named = [i for i, choice in enumerate(choices) if _names(last_value, choice)]
    if not named and (number := parse(clause)):
        values = [parse(choice) for choice in choices]
        named = [i for i, x in enumerate(values) if x and x.value == number.value and not conflict(x, number)]
        return letter(named[0]) if len(named) == 1 else None
    # "science fiction" also names the option "science": the longest wins if it holds all the others.
    longest = max(named, key=lambda i: len(choices[i]), default=None)
    if longest is None or any(choices[i].casefold() not in choices[longest].casefold() for i in named):
        return None
    return letter(longest)


def last_option(text: str, choices: Sequence[str]) -> str | None:
    """The option of a text that states no answer: the last letter that it does not deny; None if there is none.

    Letters in a reason ("B because C is wrong") count only where the sentence names no other.
    """
    if len(text) < 8 and (match := _MARKED.fullmatch(text.strip())):
        return _valid_label(next(filter(None, match.groups())), choices)
    for sentence in reversed(_SENTENCE.split(text)):
        for part in _REASON.split(_DENIED.sub(" ", sentence), maxsplit=1):
            for groups in reversed(_LETTER.findall(part)):
                if known := _valid_label(next(filter(None, groups)), choices):
                    return known
    return None


def _valid_label(label: str, choices: Sequence[str]) -> str | None:
    return label.upper() if label.upper() in map(letter, range(len(choices))) else None


def _names(text: str, choice: str) -> bool:
    choice = choice.strip().casefold()
    # A number must stand alone: -5, 5.5 and 3/5 do not name 5.
    left = r"(?<![\w.,/-])" if choice[:1].isdigit() else r"(?<!\w)"
    right = r"(?![\w/^]|[.,]\d)" if choice[-1:].isdigit() else r"(?!\w)"
    return bool(choice) and re.search(rf"{left}{re.escape(choice)}{right}", text.casefold()) is not None
