"""Special tokens in a text are plain characters, whatever kind of tokenizer reads it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import answer_ids
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kpod.text.tokens import input_ids, token_spans

SPECIAL = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
LETTERS = [chr(c) for c in range(33, 127)]


def unigram() -> PreTrainedTokenizerBase:
    """Made as T5's is: the special tokens are pieces of the model, words begin with a mark."""
    pieces = [(name, 0.0) for name in SPECIAL] + [("▁", -4.0)] + [(c, -6.0) for c in LETTERS]
    backend = Tokenizer(models.Unigram([*pieces, ("▁So", -5.0), ("▁7", -5.0)], unk_id=2, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return _fast(backend)


def word_level() -> PreTrainedTokenizerBase:
    names = [*SPECIAL, *LETTERS, "So", "it", "is", "7."]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(backend)


def word_piece() -> PreTrainedTokenizerBase:
    names = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS)]
    backend = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(backend)


def bpe() -> PreTrainedTokenizerBase:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate([*SPECIAL, *alphabet])}, [], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _fast(backend)


def _fast(backend: Tokenizer) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<extra_id_0>"],
    )


MADE = {made.__name__: made() for made in (unigram, word_level, word_piece, bpe)}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("text", ["So </s> 7", "</s>", "<pad>So", "a<extra_id_0>b", "</s></s>", "So it is 7. <pad> "])
def test_no_text_holds_a_special_id(kind: str, text: str) -> None:
    tokenizer = MADE[kind]
    special = {0, 1, 3}
    if kind in ("word_level", "word_piece"):
        special -= {2}
    ended = kind == "unigram"
    assert not special & set(input_ids(tokenizer, text)[: -1 if ended else None])
    assert not special & set(answer_ids(tokenizer, text)[:-1])
    [(ids, spans)] = token_spans(tokenizer, [text])
    assert not special & set(ids.tolist())
    assert (np.diff(spans[:, 0]) >= 0).all()
    assert spans.max(initial=0) <= len(text)


@pytest.mark.parametrize("kind", MADE)
def test_what_the_tokenizer_itself_puts_around_a_text_stays(kind: str) -> None:
    tokenizer = MADE[kind]
    assert answer_ids(tokenizer, "7")[-1] == tokenizer.eos_token_id
    if kind == "unigram":
        assert input_ids(tokenizer, "So </s>")[-1] == input_ids(tokenizer, "So")[-1] == 1
    before = tokenizer("So </s>")["input_ids"]
    input_ids(tokenizer, "So </s>")
    assert tokenizer("So </s>")["input_ids"] == before  # the tokenizer that was given is as it was


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_characters_stay(kind: str) -> None:
    tokenizer = MADE[kind]
    ids = token_spans(tokenizer, ["So </s> is <pad>"])[0][0]
    assert tokenizer.decode(ids.tolist()).strip() == "So </s> is <pad>"


@given(
    st.lists(st.sampled_from([*SPECIAL, " ", "So", "7", "<", "/s>"]), max_size=8).map("".join),
    st.sampled_from(sorted(MADE)),
)
def test_texts_with_and_without_special_tokens_in_one_batch(text: str, kind: str) -> None:
    tokenizer = MADE[kind]
    together = token_spans(tokenizer, ["So 7", text, "7"])
    many = token_spans(tokenizer, [text] * 100)  # another way to the same
    assert many[50][0].tolist() == together[1][0].tolist()
    for one, found in zip(["So 7", text, "7"], together, strict=True):
        [(ids, spans)] = token_spans(tokenizer, [one])
        assert found[0].tolist() == ids.tolist()
        assert found[1].tolist() == spans.tolist()
    assert not {0, 1, 3} & set(together[1][0].tolist())


@pytest.mark.parametrize("text", ["마실까해요", "\u1106\u1161\u1109\u1175\u11af", "中文 7.", "ﬁne ½ ⭢ é", "👩‍🔬 = 1"])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "normalised"])
def test_spans_walk_through_texts_that_a_normalizer_changes(kind: str, text: str) -> None:
    tokenizer = unigram() if kind == "normalised" else MADE[kind]
    if kind == "normalised":
        tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    [(ids, spans)] = token_spans(tokenizer, [text])
    assert len(ids) == len(spans) > 0
    assert (np.diff(spans[:, 0]) >= 0).all()
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert spans.max() <= len(text)
