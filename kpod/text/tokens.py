"""Tokenisation: the same three segments in training, weighting, difficulty and evaluation.

Prompt, rationale and answer are tokenised separately and their ids concatenated. So the ids of a training prompt are
those of the prompt at evaluation, and the ids of a rationale are the same in all stages, whatever the tokenizer would
merge across the borders.
"""

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.text.byte_tokens import byte_tokens
from kpod.text.formats import COT
from kpod.text.special import AS_TEXT, reader

_CHUNK = 512  # texts whose tokens are Python objects at the same time
_WINDOW = 16  # tokens that are decoded together with those before them
_MANY = 100  # texts from which on a copy of the tokenizer pays


def batches_of(sizes: np.ndarray, limit: int) -> list[np.ndarray]:
    """Batches of row numbers (int64) with at most `limit` padded tokens, by `sizes` int [n], the smallest rows first.

    Rows are padded to the largest of their batch; a row larger than `limit` is alone in one.
    """
    order = np.argsort(sizes, kind="stable")
    ascending = np.maximum(sizes[order], 1)
    batches, at = [], 0
    while at < len(order):
        most = max(1, limit // int(ascending[at]))
        window = ascending[at : at + most]
        fitting = int(np.searchsorted(window * np.arange(1, len(window) + 1), limit, side="right"))
        batches.append(order[at : at + max(1, fitting)])
        at += max(1, fitting)
    return batches


def input_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of an input text, with the tokenizer's special tokens around it; those in the text are plain characters."""
    return reader(tokenizer, [text])(text, **AS_TEXT)["input_ids"]


def token_spans(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], lead: str = COT.lead
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids (int32 [n]) of each rationale and the character span (start, end) (int64 [n, 2]) of each of its tokens.

    `lead` is encoded in front of the rationale, as after a prompt; a token of `lead` alone has an empty span. Starts
    are non-decreasing.
    """
    result: list[tuple[np.ndarray, np.ndarray]] = []
    bytewise = byte_tokens(reader(tokenizer, texts)) if len(texts) >= _MANY else None
    for first in range(0, len(texts), _CHUNK):
        spaced = [f"{lead}{text}" for text in texts[first : first + _CHUNK]]
        encoded = bytewise.spans(spaced) if bytewise else {}
        rest = [row for row in range(len(spaced)) if row not in encoded]
        if rest:
            encoded |= zip(rest, _token_spans(tokenizer, [spaced[row] for row in rest]), strict=True)
        result += [(ids, np.maximum(spans - len(lead), 0)) for _, (ids, spans) in sorted(encoded.items())]
    return result


def _token_spans(tokenizer: PreTrainedTokenizerBase, spaced: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and spans by the tokenizer's own offsets where they are usable, else by decoding.

    All texts at once, because numpy's calls take longer than their work.
    """
    encoded = reader(tokenizer, spaced)(
        list(spaced), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, **AS_TEXT
    )
    rows: list[list[int]] = encoded["input_ids"]
    bounds = np.cumsum([0, *map(len, rows)])
    ids = np.fromiter(chain.from_iterable(rows), np.int32, bounds[-1])
    spans = np.zeros((len(ids), 2), dtype=np.int64)
    ordered = np.zeros(len(rows), dtype=bool)
    if tokenizer.is_fast:
        offsets = chain.from_iterable(row.offsets for row in encoded.encodings or ())
        spans = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(ids)).reshape(-1, 2)
        ordered = _ordered(spans, bounds, np.fromiter(map(len, spaced), np.int64, len(spaced)))
    for row in np.flatnonzero(~ordered).tolist():
        spans[bounds[row] : bounds[row + 1]] = _decoded_spans(tokenizer, rows[row], len(spaced[row]))
    return [(ids[a:b], spans[a:b]) for a, b in pairwise(bounds.tolist())]


def _ordered(spans: np.ndarray, bounds: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """Whether a row's spans are valid, bool [rows]: starts are non-decreasing, and no span ends after the text.

    `spans` [n, 2] of all rows; those of row i begin at `bounds[i]`, its text has `characters[i]` characters.
    """
    starts, ends = spans[:, 0], spans[:, 1]
    row = np.repeat(np.arange(len(characters)), np.diff(bounds))
    wrong = (starts > ends) | (ends > characters[row])
    wrong[1:] |= (starts[1:] < starts[:-1]) & (row[1:] == row[:-1])
    result = np.ones(len(characters), dtype=bool)
    result[row[wrong]] = False
    return result


def _decoded_spans(tokenizer: PreTrainedTokenizerBase, ids: list[int], characters: int) -> np.ndarray:
    """Spans from the lengths of decoded prefixes, for tokenizers without usable offsets.

    Only the last tokens of a prefix are decoded, with a few tokens before them as context, so that the time is linear
    in the length of the text.
    """

    def length(first: int, last: int) -> int:
        return len(tokenizer.decode(ids[first:last], clean_up_tokenization_spaces=False))

    lengths = [0]
    for begin in range(0, len(ids), _WINDOW):
        front = max(0, begin - _WINDOW)
        before = lengths[begin] - length(front, begin)
        lengths += [before + length(front, end) for end in range(begin + 1, min(begin + _WINDOW, len(ids)) + 1)]
    edges = np.minimum(np.maximum.accumulate(np.asarray(lengths, dtype=np.int64)), characters)
    return np.stack([edges[:-1], edges[1:]], axis=1)
