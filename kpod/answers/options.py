"""The option that a text chooses."""

import re
from collections.abc import Sequence

from kpod.answers.quantities import parse
from kpod.text.prompts import letter

_WORD = r"(?:(?:option|choice|letter|answer)\s+)?"
_MARKED = re.compile(rf"\W*{_WORD}(?:\(([A-Za-z])\)|([A-Z])(?=[).:,;]|$)|([A-Za-z])$)")
_BARE = re.compile(rf"\W*{_WORD}([B-Z])(?=\s)")
_ANOTHER = re.compile(
    r"[)\s,]*\b(?:or|and)\s+(?:option\s+)?\(?[A-Za-z]\b|[)\s]*(?:[,/&]\s*\(?|\()(?![A-Z]\s+[a-z])[A-Z]\b"
)
_ANYWHERE = re.compile(r"\(([A-Za-z])\)|(?<![\w'])([A-Z])(?![\w'])(?!\s+[a-z])|(?:option|choice)\s+([A-Z])\b")


def stated_option(clause: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that a clause after "the answer is" names: by letter, else by words or number.

    None if it names none, several, or denies one.
    """
    if re.match(r"\W*not\b", clause):
        return None
    if match := _MARKED.match(clause) or _BARE.match(clause):
        found = next(filter(None, match.groups()))
        return None if _ANOTHER.match(clause, match.end()) else _known(found, choices)
    said = clause.rpartition("=")[2]  # 5 + 5 = 10 names 10
    named = [i for i, choice in enumerate(choices) if _names(said, choice)]
    if not named and (number := parse(clause)):
        values = [parse(choice) for choice in choices]
        named = [i for i, value in enumerate(values) if value and value.value == number.value]
        return letter(named[0]) if len(named) == 1 else None
    # "science fiction" also names the option "science": the longest wins if it holds all the others.
    longest = max(named, key=lambda i: len(choices[i]), default=None)
    if longest is None or any(choices[i].casefold() not in choices[longest].casefold() for i in named):
        return None
    return letter(longest)


def last_option(text: str, choices: Sequence[str]) -> str | None:
    """The last letter of an option in a text that states no answer."""
    for groups in reversed(_ANYWHERE.findall(text)):
        if known := _known(next(filter(None, groups)), choices):
            return known
    return None


def _known(found: str, choices: Sequence[str]) -> str | None:
    return found.upper() if found.upper() in map(letter, range(len(choices))) else None


def _names(text: str, choice: str) -> bool:
    choice = choice.strip().casefold()
    # A number must stand alone: -5, 5.5 and 3/5 do not name 5.
    left = r"(?<![\w.,/-])" if choice[:1].isdigit() else r"(?<!\w)"
    right = r"(?![\w/^]|[.,]\d)" if choice[-1:].isdigit() else r"(?!\w)"
    return bool(choice) and re.search(rf"{left}{re.escape(choice)}{right}", text.casefold()) is not None
