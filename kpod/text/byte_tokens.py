"""Token offsets of ASCII texts without the tokenizer's own, which take half as much time again as the ids.

A byte-level BPE drops and changes nothing, and writes each byte as one character of a token. An ASCII character is one
byte, so the offsets of an ASCII text are the cumulative lengths of its tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ByteTokens:
    """A byte-level BPE."""

    backend: Tokenizer
    length: np.ndarray  # int64 [V]: bytes of each token

    def spans(self, texts: Sequence[str]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Ids (int32 [n]) and character spans (start, end) (int64 [n, 2]) of each ASCII text's tokens, by its position.

        A text is left out if it is not ASCII, or if the lengths of its tokens do not sum up to its length.
        """
        rows = [row for row, text in enumerate(texts) if text.isascii()]
        encoded = self.backend.encode_batch_fast([texts[row] for row in rows], add_special_tokens=False)
        lists = [encoding.ids for encoding in encoded]
        bounds = np.cumsum([0, *map(len, lists)])
        ids = np.fromiter(chain.from_iterable(lists), np.int32, bounds[-1])
        ends = np.concatenate([[0], np.cumsum(self.length[ids])])
        spans = {}
        for row, (first, last) in zip(rows, pairwise(bounds.tolist()), strict=True):
            edges = ends[first : last + 1] - ends[first]
            if edges[-1] == len(texts[row]):
                spans[row] = ids[first:last], np.stack([edges[:-1], edges[1:]], axis=1)
        return spans


def byte_tokens(tokenizer: PreTrainedTokenizerBase) -> ByteTokens | None:
    """The byte-level BPE of a tokenizer; None if it is of another kind, or normalises texts."""
    return _byte_tokens(tokenizer, len(tokenizer)) if tokenizer.is_fast else None


@lru_cache(maxsize=8)
def _byte_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> ByteTokens | None:
    """As `byte_tokens`; `size` is part of the cache's key, because the vocabulary may grow."""
    serialized = tokenizer.backend_tokenizer.to_str()
    if not _keeps_bytes(json.loads(serialized)):
        return None
    backend = Tokenizer.from_str(serialized)  # a copy: its settings are not the caller's
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # special tokens in a text are plain characters
    vocabulary = backend.get_vocab(with_added_tokens=True)
    length = np.zeros(1 + max(vocabulary.values()), dtype=np.int64)
    for token, number in vocabulary.items():
        length[number] = len(token)
    return ByteTokens(backend, length)


def _keeps_bytes(config: dict[str, Any]) -> bool:
    """Whether a tokenizer.json is of a byte-level BPE whose offsets are those of the bytes."""
    model, cut = config["model"], config["pre_tokenizer"] or {}
    cuts = cut.get("pretokenizers", [cut])
    return (
        model["type"] == "BPE"
        and not model["continuing_subword_prefix"]
        and not model["end_of_word_suffix"]
        and config["normalizer"] is None
        and any(part.get("type") == "ByteLevel" and not part["add_prefix_space"] for part in cuts)
        and '"trim_offsets": true' not in json.dumps(config["post_processor"])
    )
