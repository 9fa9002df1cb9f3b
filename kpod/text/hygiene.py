"""Cleaning of untrusted text (questions, output of teacher and student) for display.

Escaping is done by the template engine. This module replaces characters that escaping does not change and that break a
page or mislead its reader: NUL, other controls, and marks that reorder text.
"""

from functools import cache
from typing import Any

_ISOLATES = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"},
    127: "␡",
    **{code: f"⟨U+{code:04X}⟩" for code in (*range(0x80, 0xA0), *_ISOLATES, 0xFFFE, 0xFFFF)},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),  # a lone surrogate cannot be written as UTF-8
}


def clean(text: str) -> str:
    """`text` with controls, bidirectional overrides and lone surrogates replaced by visible characters."""
    return text.replace("\r\n", "\n").translate(_SHOWN)


def well_formed(text: str) -> str:
    """`text` as it can be encoded: surrogate pairs are joined, and lone surrogates replaced.

    JSON may hold half an emoji ("\\ud83d"), which Python can read but not encode.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def well_formed_tree(value: Any) -> Any:
    """A JSON value with `well_formed` applied to every text in it."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed_tree(key): well_formed_tree(item) for key, item in value.items()}
    return [well_formed_tree(item) for item in value] if isinstance(value, list) else value


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters, followed by the number of those left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


@cache
def _glyphs(family: str) -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    return frozenset(ft2font.FT2Font(font_manager.findfont(family)).get_charmap())


def drawable(text: str, family: str = "DejaVu Sans") -> str:
    """`text` for a picture: one line, with a box for each character that the font lacks."""
    glyphs = _glyphs(family)
    return "".join(c if ord(c) in glyphs else "□" for c in " ".join(clean(text).split()))


def label(text: str, limit: int = 28) -> str:
    """A name for a chart: drawable, at most `limit` characters, without a leading underscore, which hides a series."""
    line = drawable(text)
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return f" {line}" if line.startswith("_") else line
