"""Cut a rationale into steps.

Steps tile their rationale: joined, they give it back character for character. White space between two steps opens
the later one, because tokenizers write a word together with the space before it.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import numpy as np

from kpod.steps.abbreviations import ends_step, next_word

Rule = Literal["default", "literal"]

_NEWLINES = "\n\r\v\f\x85\u2028\u2029"
_CLOSERS = "\"'”’»)\\]}*_`$」』）】》〉"
# Stops that need white space behind them, stops of scripts that are written without any, or a new line.
_CANDIDATE = re.compile(
    rf"(?P<stop>[.…!?](?<![.…!?]{{2}})[.…!?]*+)(?P<closers>[{_CLOSERS}]*+)(?!\S)"
    rf"|(?P<wide>[。！？｡।॥۔؟።။។։]+|．(?!\d))[.…!?。！？]*[{_CLOSERS}]*"
    rf"|[{_NEWLINES}]\s*"
)
_SPACED = re.compile(rf"[^\S{_NEWLINES}]+\.")
_FULL_STOPS = re.compile(r"\.+")
_OPERATOR = re.compile(rf"[^\S{_NEWLINES}]+[=+*/×÷·<>≤≥≈^](?=[\s\d(])")
_MINUS = re.compile(rf"[^\S{_NEWLINES}]+[-−–](?=[\s\d(])")
_MARKER = re.compile(
    r"[\s>#*•·+\-–—]*\(?(?:(?:step|part|case|problem|question)\s*#?\s*)?(?:\d{1,3}(?:\.\d{1,3})*|[ivx]{2,5})",
    re.IGNORECASE,
)
_LETTER_MARKER = re.compile(rf"(?:[^\S{_NEWLINES}]*[{_NEWLINES}]\s*|\A\s*)[>#*•·+\-–— ]*\(?[A-Za-z]")
_BARE_MARKER = re.compile(r"[\s>#*•·+\-–—]*\(?(?:\d{1,3}|[A-Za-z]|[ivx]{2,5})[.)]\**\s*")
_WORDLIKE = re.compile(r"[^\W_]")
_NOT_STOP = re.compile(r"[^\s.]")


def split(text: str, rule: Rule = "default") -> list[str]:
    """Cut a rationale into steps, so that `"".join(split(text)) == text` for every string.

    `default`: a step ends at `.`, `!` or `?` before white space or the end (at once in scripts without spaces), never
    inside a decimal, an abbreviation, a list marker, an ellipsis or a formula, and at a new line. `literal`: a step
    ends at every full stop (the paper). A piece without a letter or digit is no step of its own: it goes with its
    neighbour. An empty text has no steps; white space alone comes back as one piece. Raises ValueError for another
    rule.
    """
    if rule not in ("default", "literal"):
        raise ValueError(f"no rule {rule}; there are default and literal")
    if rule == "literal":
        return _join(text, [m.end() for m in _FULL_STOPS.finditer(text)], _NOT_STOP, None)
    cuts: list[int] = []
    last = 0
    for match in _CANDIDATE.finditer(text):
        stop, closers, wide = match.groups()
        if stop is None:
            last = match.end() if wide else match.start()
        elif _ends(text, stop, closers, match.end(), last):
            last = match.end()
        else:
            continue
        cuts.append(last)
    return _join(text, cuts, _WORDLIKE, _BARE_MARKER)


def spans(parts: Sequence[str]) -> np.ndarray:
    """Character spans [k, 2] int32 (start, end) of steps that tile their text."""
    ends = list(accumulate(map(len, parts)))
    return np.array([[0, *ends[:-1]], ends], dtype=np.int32).T if ends else np.empty((0, 2), dtype=np.int32)


def _ends(text: str, stop: str, closers: str, end: int, last: int) -> bool:
    """Whether a step that began at `last` ends with this run of stops and closers, which ends at `end`."""
    start = end - len(closers) - len(stop)
    before = text[start - 1] if start else " "
    if stop != ".":
        asks = "!" in stop or "?" in stop
        if not asks and ("…" in stop or "..." in stop):
            return False
        if asks and _in_formula(text, stop, before, start, end):
            return False
    elif before.isdigit() and _OPERATOR.match(text, end):
        return False  # 3. + 2.
    elif before.isspace() and (_SPACED.match(text, end) or text[max(last, start - 8) : start].rstrip()[-1:] == "."):
        return False  # . . .
    if closers:
        return not next_word(text, end)[0][:1].islower()  # "How many?" he asked; (apples, pears, etc.) are
    if stop != ".":
        return True
    if start - last <= 24 and (_MARKER.fullmatch(text, last, start) or _LETTER_MARKER.fullmatch(text, last, start)):
        return False
    return ends_step(text[max(last, start - 32) : start], text, end)


def _in_formula(text: str, stop: str, before: str, start: int, end: int) -> bool:
    """Whether `!` is a factorial (5! ways, n! = 6) or `?` an unknown (3 + ? = 8)."""
    operand = before.isdigit() or before == ")" or _variable(text, start)
    if _OPERATOR.match(text, end) or (stop == "!" and operand and next_word(text, end)[0][:1].islower()):
        return True
    unknown = before.isspace() and start > 0
    return (operand or unknown) and _MINUS.match(text, end) is not None


def _variable(text: str, at: int) -> bool:
    """Whether the character before `at` is a letter standing alone."""
    return at > 0 and text[at - 1].isalpha() and (at == 1 or not text[at - 2].isalnum())


def _join(text: str, cuts: list[int], content: re.Pattern[str], opener: re.Pattern[str] | None) -> list[str]:
    """Pieces of `text` between `cuts`; one without `content` goes to the step before, an `opener` to the one after."""
    ends: list[int] = []
    start = seen = 0
    solid = False
    for cut in (*cuts, len(text)):
        if cut == seen:
            continue
        solid = solid or content.search(text, seen, cut) is not None
        seen = cut
        final = cut == len(text)
        if solid:
            if not final and opener and opener.fullmatch(text, start, cut):
                continue
            ends.append(cut)
        elif ends and (final or not text[start:cut].isspace()):
            ends[-1] = cut
        elif final:
            ends.append(cut)
        else:
            continue
        start, solid = cut, False
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
