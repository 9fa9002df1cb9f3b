"""Decoding of token ids to pieces of text: tokens that share a character are one piece."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_UNDECODED = "\ufffd"
_LONGEST = 4  # bytes of a character in UTF-8, and so the most byte tokens that one character can take
_ZWJ = "\u200d"


@dataclass(frozen=True)
class Piece:
    """Tokens `start` to `stop` (exclusive), decoded."""

    text: str
    start: int
    stop: int


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[Piece]:
    """Split a token sequence into the shortest runs that decode to whole characters.

    `tokenizer` needs `decode(ids, skip_special_tokens=..., clean_up_tokenization_spaces=...)`. Tokens without text
    (a lone word-start mark, an incomplete character) are joined with the run after them; combining marks, variation
    selectors and emoji joiners with the run before them. The runs cover every token in order.
    """
    runs: list[Piece] = []
    anchor = start = incomplete = 0
    for stop in range(1, len(ids) + 1):
        # Decoding from the piece before `start` keeps the space that a tokenizer drops at the start of a text.
        before, after = _decode(tokenizer, ids[anchor:start]), _decode(tokenizer, ids[anchor:stop])
        text = after[len(before) :] if after.startswith(before) else _decode(tokenizer, ids[start:stop])
        incomplete = incomplete + 1 if text.endswith(_UNDECODED) else 0
        if stop < len(ids) and (not text or 0 < incomplete < _LONGEST):
            continue
        _append(runs, Piece(text, start, stop))
        anchor, start, incomplete = start, stop, 0
    return runs


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _append(runs: list[Piece], piece: Piece) -> None:
    if runs and (not piece.text or _extends(piece.text[0]) or runs[-1].text.endswith(_ZWJ)):
        last = runs.pop()
        piece = Piece(last.text + piece.text, last.start, piece.stop)
    runs.append(piece)


def _extends(character: str) -> bool:
    is_skin_tone = "\U0001f3fb" <= character <= "\U0001f3ff"
    return character == _ZWJ or is_skin_tone or unicodedata.category(character) in ("Mn", "Mc", "Me")
