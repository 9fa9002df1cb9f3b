"""Whether two answers are the same.

Decisions, each of which a test pins down:
- Values are compared exactly: 0.5 = 1/2, 42.0 = 42, and 0.333 is not 1/3. Nothing is rounded, nothing evaluated.
- Currency, separators and units do not matter, unless both name a unit and the units differ (5 km, 5 miles); an
  extracted answer remembers its unit, although the number alone is written down.
- A percentage equals the same number without its sign (the gold of "what percentage?" is often a bare 50) and the
  value it stands for: 50% = 50 and 50% = 0.5, while 50 is not 0.5.
- A time of day equals the same time in another spelling, and its bare hour.
- What is no number is compared as text. No answer equals an empty one, or "NaN".
"""

import re
from dataclasses import replace

from kpod.answers.clock import same_time, time_of_day
from kpod.answers.quantities import Quantity, conflict, parse
from kpod.answers.spelling import normalize

_ROOT_SIGN = re.compile(r"√ ?(?:\(([^()]*)\)|([0-9.]+|[a-z]))")
_ENDLESS = {"inf", "+inf", "infinity", "+infinity", "∞", "+∞"}


class Answer(str):
    """An extracted number as text, with the units that it was stated in: "4" with `units` {"pear"}."""

    __slots__ = ("units",)
    units: frozenset[str]

    def __new__(cls, quantity: Quantity) -> "Answer":
        answer = super().__new__(cls, quantity.written)
        answer.units = quantity.units
        return answer


def answers_equal(a: str | None, b: str | None) -> bool:
    """Whether two answers are the same by the rules of this module; symmetric, False if either is None or empty."""
    if not a or not b:
        return False
    x, y = _quantity(a), _quantity(b)
    if x is None or y is None:
        return _same_moment(a, b, x, y) or (x is y and _same_text(_key(a), _key(b)))
    if conflict(x, y):
        return False
    if x.percent != y.percent:
        share, other = (x.value, y.value) if x.percent else (y.value, x.value)
        return other in (share, share / 100)
    return x.value == y.value


def _quantity(answer: str) -> Quantity | None:
    quantity = parse(answer)
    if quantity and isinstance(answer, Answer):
        return replace(quantity, units=answer.units)
    return quantity


def _same_moment(a: str, b: str, x: Quantity | None, y: Quantity | None) -> bool:
    """Whether both are the same time of day; a bare number is a full hour."""
    first = time_of_day(f"{x.written}:00" if x else a)
    second = time_of_day(f"{y.written}:00" if y else b)
    return first is not None and second is not None and same_time(first, second)


def _key(text: str) -> str:
    """A text answer without case, outer punctuation and article: "The Cat." is "cat", "(B) cat" is "b) cat"."""
    text = " ".join(normalize(text).casefold().split()).strip(" .,;:!?\"'()[]$")
    text = _ROOT_SIGN.sub(r"sqrt(\1\2)", re.sub(r"^(?:the|an?) ", "", text))
    return "" if text == "nan" else "infinity" if text in _ENDLESS else text


def _same_text(a: str, b: str) -> bool:
    """Equal texts, or an option's letter and the same letter with the option's words behind it."""
    short, long = sorted((a, b), key=len)
    return short != "" and (short == long or (len(short) == 1 and short.isalpha() and long.startswith(f"{short}) ")))
