"""Special tokens in a text are plain characters: a teacher that writes "</s>" must not end the student's sentence.

A tokenizer can be told so (`split_special_tokens`), but where its model has the special tokens among its pieces, as
Unigram (T5) and word-level models do, it finds them there all the same. For texts that hold one, such a tokenizer is
replaced by a copy in whose vocabulary these pieces have names that no text has.
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
    """What to read `texts` with, together with AS_TEXT: `tokenizer`, or its copy if one of them needs it."""
    if not tokenizer.is_fast:
        return tokenizer
    special = _pattern(tokenizer, len(tokenizer))
    if special is None or not any(special.search(text) for text in texts):
        return tokenizer
    return _without_special(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)
def _pattern(tokenizer: PreTrainedTokenizerBase, size: int) -> re.Pattern[str] | None:
    """Finds the special tokens that are pieces of the model; `size` changes with the vocabulary."""
    names = _pieces(json.loads(tokenizer.backend_tokenizer.to_str()), tokenizer)
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None


def _pieces(told: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> set[str]:
    model = told["model"]
    if model["type"] == "BPE" and not model.get("ignore_merges"):
        return set()  # a BPE makes a piece from others only
    vocabulary = {piece for piece, _ in model["vocab"]} if model["type"] == "Unigram" else set(model["vocab"])
    special = {token["content"] for token in told["added_tokens"] if token["special"]} | set(
        tokenizer.all_special_tokens
    )
    return {name for name in special & vocabulary if name}


@lru_cache(maxsize=8)
def _without_special(tokenizer: PreTrainedTokenizerBase, size: int) -> PreTrainedTokenizerBase:
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    model = told["model"]
    names = {name: f"\U000f0000{place}" for place, name in enumerate(sorted(_pieces(told, tokenizer)))}
    if model["type"] == "Unigram":
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
    for token in told["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    twin = copy.copy(tokenizer)
    twin._tokenizer = Tokenizer.from_str(json.dumps(told))
    return twin
