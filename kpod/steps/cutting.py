"""Cut a rationale into steps.

Steps tile their rationale: joined, they are the rationale, character for character. White space between two steps
belongs to the later one, because tokenizers encode a word together with the space before it.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from kpod.steps.abbreviations import ends_step, next_word

Rule = Literal["default", "literal", "paragraph"]

_NEWLINES = "\n\r\v\f\x85\u2028\u2029"
_CLOSERS = "\"'”’“‘»«›‹)\\]}*_`$」』）】》〉"
# Stops that need white space behind them, stops of scripts that are written without any, or a new line.
_CANDIDATE = re.compile(
    rf"(?P<stop>[.…!?](?<![.…!?]{{2}})[.…!?]*+)(?P<closers>[{_CLOSERS}]*+)(?!\S)"
    rf"|(?P<wide>[。！？｡।॥۔؟።။។։]+|．(?!\d))[.…!?。！？]*[{_CLOSERS}]*"
    rf"|[{_NEWLINES}]\s*"
)
_SPACED = re.compile(rf"[^\S{_NEWLINES}]+\.")
_FULL_STOPS = re.compile(r"\.+")
_BLANK_LINE = re.compile(rf"[{_NEWLINES}][^\S{_NEWLINES}]*[{_NEWLINES}]\s*")
_NEW_LINE = re.compile(rf"[{_NEWLINES}]\s*")
_OPERATOR = re.compile(rf"[^\S{_NEWLINES}]+(?!\*+\d{{1,3}}[.)]\*)[=+*/×÷·<>≤≥≈^](?=[\s\d(])")
_MINUS = re.compile(rf"[^\S{_NEWLINES}]+[-−–](?=[\s\d(])")
_MARKER = re.compile(
    r"[\s>#*_•·+\-–—]*\(?(?:(?:step|part|case|problem|question|rule|phase|stage|item|task|example|no\.?)\s*#?\s*)?"
    r"(?:\d{1,3}(?:\.\d{1,3})*|[ivx]{2,5})",
    re.IGNORECASE,
)
_LETTER_MARKER = re.compile(rf"(?:[^\S{_NEWLINES}]*[{_NEWLINES}]\s*|\A\s*)[>#*•·+\-–— ]*\(?[A-Za-z]")
_BARE_MARKER = re.compile(r"[\s>#*•·+\-–—]*\(?(?:\d{1,3}|[A-Za-z]|[ivx]{2,5})[.)]\**\s*")
_CLOSES = {"[": "]", "(": ")", "$$": "$$", "begin": "end"}
_DELIMITER = re.compile(r"(?<!\\)\\(?:[\[\]()]|(?:begin|end)\{\w{1,20}\*?\})|\$\$")
_TAIL = re.compile(rf"[{_CLOSERS}]*+(?!\S)")
_ITEM = re.compile(r"(?<![\w.,$£€\-])(?:(\d{1,2})|([a-h]))\.(?=[*_)]*[^\S\n]+[*_]*(?P<next>\S))")
_ITEM_LEAD = re.compile(r"(?:(?P<listed>[,;:(]|\b(?:and|or|then))|[.!?\n]|\A)[*_)\]\"'\s]*\Z")
_EQUALS = re.compile(rf"[^\S{_NEWLINES}]+=(?=[\s\d(])")
_WORDLIKE = re.compile(r"[^\W_]")
_NOT_STOP = re.compile(r"[^\s.]")


def split(text: str, rule: Rule = "default") -> list[str]:
    """Cut a rationale into steps, so that `"".join(split(text)) == text` for every string.

    `default`: a step ends at `.`, `!` or `?` before white space or the end (at once in scripts without spaces), never
    inside a decimal, an abbreviation, a list marker, an ellipsis or a formula, and at a new line. `literal`: a step
    ends at every full stop (the paper). `paragraph`: a step ends at a blank line; in a text without any, at a new line.
    A piece without a letter or digit is joined with its neighbour. An empty text has no steps; white space alone is
    one piece. Raises ValueError for another rule.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"no rule {rule}; there are {', '.join(get_args(Rule))}")
    if rule == "literal":
        return _join(text, [m.end() for m in _FULL_STOPS.finditer(text)], _NOT_STOP, None)
    if rule == "paragraph":
        ends = _BLANK_LINE if _BLANK_LINE.search(text.strip()) else _NEW_LINE
        return _join(text, [m.start() for m in ends.finditer(text)], _WORDLIKE, None)
    cuts: list[int] = []
    last = 0
    items, formulas = _items(text), _formulas(text)
    begins = [begin for begin, _, _ in formulas]
    for match in _CANDIDATE.finditer(text):
        stop, closers, wide = match.groups()
        start, end = match.span()
        if start < last:
            continue
        at = bisect_right(begins, start)
        _, closing, after = formulas[at - 1] if at else (0, 0, 0)
        inside = start < after
        if stop is None:
            if not (inside and end >= closing):  # a formula's last line goes with the mark that closes it
                last = end if wide else start
                cuts.append(last)
            continue
        if inside and end < closing and text[end:closing].strip():
            continue
        if inside and end < after:  # 2x = 1. \]
            tail = _TAIL.match(text, after)
            if tail is None:
                continue
            closers, end = text[end : tail.end()], tail.end()
        if start not in items and _ends(text, start, stop, closers, end, last):
            last = end
            cuts.append(last)
    return _join(text, cuts, _WORDLIKE, _BARE_MARKER)


def merged(parts: Sequence[str], most: int) -> list[str]:
    """Join neighbouring steps until there are at most `most`, of about equal length in characters."""
    if len(parts) <= most:
        return list(parts)
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    middle = ends - np.diff(ends, prepend=0) / 2
    group = np.minimum(middle * most // ends[-1], most - 1).astype(np.int64)
    first = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    return ["".join(parts[a:b]) for a, b in pairwise([*first, len(parts)])]


def spans(parts: Sequence[str]) -> np.ndarray:
    """Character spans (start, end), int32 [k, 2], of k steps that tile their text."""
    edges = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _formulas(text: str) -> list[tuple[int, int, int]]:
    r"""Offsets of the formulas between `\[ \]`, `\( \)`, `$$ $$` and `\begin \end`, ascending.

    Each is (where it begins, where its closing mark begins, where that ends).
    """
    formulas: list[tuple[int, int, int]] = []
    if "\\" not in text and "$$" not in text:
        return formulas
    opened: tuple[str, int] | None = None
    for mark in _DELIMITER.finditer(text):
        kind = mark[0].partition("{")[0].lstrip("\\")
        closes = opened is not None and kind == opened[0] and not _BLANK_LINE.search(text, opened[1], mark.start())
        if opened is not None and closes:
            formulas.append((opened[1], mark.start(), mark.end()))
            opened = None
        elif kind in _CLOSES and (opened is None or kind != "begin"):  # the one before was never closed
            opened = (_CLOSES[kind], mark.end())
    return formulas


def _items(text: str) -> set[int]:
    """Offsets of the full stops of enumerations inside a sentence: "Ann ate 1. a pizza, 2. a pie".

    The markers must count up from 1 (or a), and at least one must follow a comma, a colon or "and", since
    "He ate 1. Then he ate 2. Now 3 are left." has three sentences.
    """
    stops: set[int] = set()
    if "1." not in text and "a." not in text:
        return stops
    chain: list[int] = []
    count, evident = 0, False
    for item in _ITEM.finditer(text):
        value = int(item[1]) if item[1] else ord(item[2]) - ord("a") + 1
        lead = _ITEM_LEAD.search(text, max(0, item.start() - 8), item.start())
        listed = lead is not None and lead["listed"] is not None
        if value == 1:
            chain, count, evident = [item.end() - 1], 1, listed
        elif value == count + 1 and (lead or item["next"].islower()):
            chain.append(item.end() - 1)
            count, evident = value, evident or listed
            if evident:
                stops.update(chain)
    return stops


def _ends(text: str, start: int, stop: str, closers: str, end: int, last: int) -> bool:
    """Whether a step that began at `last` ends with the stops from `start` on and the closers that end at `end`."""
    before = text[start - 1] if start else " "
    if stop != ".":
        asks = "!" in stop or "?" in stop
        if not asks and ("…" in stop or "..." in stop):
            return False
        if asks and _in_formula(text, stop, before, start, end):
            return False
    elif _EQUALS.match(text, end) or (before.isdigit() and _OPERATOR.match(text, end)):
        return False  # 5 kg. = 5000 g, 3. + 2.
    elif before.isspace() and (_SPACED.match(text, end) or text[max(last, start - 8) : start].rstrip()[-1:] == "."):
        return False  # . . .
    near = stop == "." and not closers.strip("*_)") and start - last <= 24
    if near and (_MARKER.fullmatch(text, last, start) or _LETTER_MARKER.fullmatch(text, last, start)):
        return False  # 1. and **2.** and 3.)
    if closers:
        return not next_word(text, end)[0][:1].islower()  # "How many?" he asked; (apples, pears, etc.) are
    if stop != ".":
        return True
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
    start = previous = 0
    solid = False
    for cut in (*cuts, len(text)):
        if cut == previous:
            continue
        solid = solid or content.search(text, previous, cut) is not None
        previous = cut
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
