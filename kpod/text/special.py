"""Encoding of special tokens in a text as plain characters: a teacher that writes "</s>" must not end the sequence.

Tokenizers have an option for this (`split_special_tokens`), but a model whose vocabulary holds the special tokens as
pieces, such as Unigram (T5) and word-level models, encodes them all the same. For texts that hold one, such a tokenizer
is replaced by a copy in whose vocabulary these pieces have names that no text has.
"""

import copy
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

AS_TEXT = {"split_special_tokens": True}


def reader(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """The tokenizer to encode `texts` with, together with AS_TEXT: `tokenizer`, or its copy if a text needs that."""
    if not tokenizer.is_fast:
        return tokenizer
    special = _pattern(tokenizer, len(tokenizer))
    if special is None or not any(special.search(text) for text in texts):
        return tokenizer
    return _without_special(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)
def _pattern(tokenizer: PreTrainedTokenizerBase, size: int) -> re.Pattern[str] | None:
    """A pattern of the special tokens that are pieces of the model; `size` is part of the cache's key."""
    names = _pieces(json.loads(tokenizer.backend_tokenizer.to_str()), tokenizer)
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None


def _pieces(config: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> set[str]:
    model = config["model"]
    if model["type"] == "BPE" and not model.get("ignore_merges"):
        return set()  # a BPE makes a piece from others only
    vocabulary = {piece for piece, _ in model["vocab"]} if model["type"] == "Unigram" else set(model["vocab"])
    special = {token["content"] for token in config["added_tokens"] if token["special"]} | set(
        tokenizer.all_special_tokens
    )
    return {name for name in special & vocabulary if name}


@lru_cache(maxsize=8)
def _without_special(tokenizer: PreTrainedTokenizerBase, size: int) -> PreTrainedTokenizerBase:
    config = json.loads(tokenizer.backend_tokenizer.to_str())
    model = config["model"]
    names = {name: f"\U000f0000{place}" for place, name in enumerate(sorted(_pieces(config, tokenizer)))}
    if model["type"] == "Unigram":
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
    for token in config["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    twin = copy.copy(tokenizer)
    twin._tokenizer = Tokenizer.from_str(json.dumps(config))
    return twin
