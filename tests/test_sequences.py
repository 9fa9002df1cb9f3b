"""Tokens and steps: every token has one step, whatever the text and the tokenizer's family."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segments import answer_ids, prompt_ids, rationale_ids
from tokenizers import AddedToken, normalizers, pre_tokenizers, processors
from transformers import BatchEncoding, PreTrainedTokenizerFast
from weighting_tiny import FAMILIES, llama, question, rationale, world

from kpod.steps.cutting import spans, split
from kpod.text.byte_tokens import byte_tokens
from kpod.text.rationales import read_rationales
from kpod.text.tokens import _MANY, _decoded_spans, _token_spans, token_spans

TOKENIZERS = {name: build() for name, build in FAMILIES.items()}
PIECES = st.sampled_from(
    [
        ". ",
        "3.50",
        "\n",
        " = ",
        "Tom",
        "é",
        "e\u0301",
        "数は7。",
        "🙂",
        "👩‍👧",
        "\u00a0",
        "\u200b",
        "...",
        " ",
        "x",
        "½",
        "ﬁ",
        "\r\n",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=20).map("".join))


def places(text: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in spans(split(text))]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=250)
@given(text=TEXTS)
def test_every_token_has_one_step_and_steps_follow_one_another(family: str, text: str) -> None:
    found = places(text)
    [(ids, step)] = rationale_ids(TOKENIZERS[family], [text], [found])
    assert ids.dtype == step.dtype == np.int32
    assert ids.shape == step.shape
    assert (np.diff(step) >= 0).all()
    if found and len(step):
        assert step[0] >= 0
        assert step[-1] < len(found)


@settings(max_examples=250)
@given(text=TEXTS)
def test_bytes_cover_every_step(text: str) -> None:
    """A byte-level tokenizer drops nothing, so a step without a token would be a fault of the alignment."""
    found = places(text)
    [(_, step)] = rationale_ids(TOKENIZERS["byte_bpe"], [text], [found])
    # A token may start in one step and hold the whole next one: only pieces of letters or digits must have their own.
    alone = {k for k, (a, b) in enumerate(found) if any(c.isascii() and c.isalnum() for c in text[a:b])}
    assert alone <= set(step.tolist())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_belongs_to_the_step_it_starts_in(family: str) -> None:
    text = "Tom has 3 apples. Tom has 3 + 4 = 7 apples.\nAnna owns 12."
    [(ids, step)] = rationale_ids(TOKENIZERS[family], [text], [places(text)])
    words = [TOKENIZERS[family].decode(ids[step == k]).lower().replace("<unk>", "") for k in range(3)]  # the new line
    letters = ["".join(word.split()) for word in words]
    assert letters == ["tomhas3apples.", "tomhas3+4=7apples.", "annaowns12."]


class WithoutOffsets(PreTrainedTokenizerFast):
    """A tokenizer as the slow ones are: ids, and no idea where they come from."""

    is_fast = False

    def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        assert not kwargs.get("return_offsets_mapping")
        return super().__call__(*args, **kwargs)


@settings(max_examples=100)
@given(text=st.text(alphabet=st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=60))
def test_without_offsets_the_decoded_prefixes_say_where_a_token_starts(text: str) -> None:
    fast = TOKENIZERS["byte_bpe"]
    slow = WithoutOffsets(tokenizer_object=fast.backend_tokenizer, pad_token="<pad>", eos_token="<eos>")
    [(ids, mine)], [(expected, theirs)] = token_spans(slow, [text]), token_spans(fast, [text])
    assert ids.tolist() == expected.tolist()
    assert mine.tolist() == theirs.tolist()


@settings(max_examples=100)
@given(text=TEXTS.filter(bool))
def test_without_offsets_any_text_still_has_ordered_steps(text: str) -> None:
    fast = TOKENIZERS["byte_bpe"]
    slow = WithoutOffsets(tokenizer_object=fast.backend_tokenizer, pad_token="<pad>", eos_token="<eos>")
    [(_, step)] = rationale_ids(slow, [text], [places(text)])
    assert (np.diff(step) >= 0).all()
    assert not len(step) or 0 <= step[0] <= step[-1] < len(places(text))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_is_decoded_in_short_pieces(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS[family]
    text = "Tom has 3 apples, Zoë's 2.50 € and 数 more. " * 8
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = [len(tokenizer.decode(ids[:n], clean_up_tokenization_spaces=False)) for n in range(len(ids) + 1)]
    edges = np.minimum(np.maximum.accumulate(whole), len(text))
    asked, decode = [], type(tokenizer).decode
    monkeypatch.setattr(
        type(tokenizer), "decode", lambda self, ids, **k: asked.append(len(ids)) or decode(self, ids, **k)
    )
    found = _decoded_spans(tokenizer, ids, len(text))
    assert found.tolist() == np.stack([edges[:-1], edges[1:]], axis=1).tolist()
    assert max(asked) < len(ids) / 3


def test_special_words_in_a_rationale_are_text() -> None:
    """Else a teacher that writes <eos> would end the student's sentence in the middle."""
    tokenizer = TOKENIZERS["byte_bpe"]
    [(ids, _)] = token_spans(tokenizer, ["He wrote <eos> and <pad>."])
    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids.tolist())
    assert tokenizer.eos_token_id not in prompt_ids(tokenizer, "What is <eos>?")
    assert answer_ids(tokenizer, "<eos>").count(tokenizer.eos_token_id) == 1


def test_stages_are_joined_by_key(tmp_path: Path) -> None:
    asked = [question("b", "Second?", "2"), question("a", "First?", "1", ["x", "y"])]
    texts = [
        rationale("a", "One. Two.", sample=1),
        rationale("b", "Three."),
        rationale("a", "Four.", sample=0),
        rationale("b", "Wrong.", sample=1, kept=False),
        rationale("nobody", "Five."),
    ]
    inputs = world(tmp_path, asked, texts, llama(300))
    found = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    assert {r.key: (r.text, r.question, r.answer, len(r.steps)) for r in found} == {
        ("a", 0): ("Four.", "First?", "1", 1),
        ("a", 1): ("One. Two.", "First?", "1", 2),
        ("b", 0): ("Three.", "Second?", "2", 1),
    }
    assert found[[r.key for r in found].index(("a", 1))].choices == ("x", "y")


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, max_size=8))
@pytest.mark.parametrize("family", FAMILIES)
def test_many_texts_equal_one_by_one(family: str, texts: list[str]) -> None:
    """Whatever lies between two chunks, and rows without a token among others."""
    tokenizer, bounds = TOKENIZERS[family], [places(text) for text in texts]
    alone = [rationale_ids(tokenizer, [text], [found])[0] for text, found in zip(texts, bounds, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kpod.text.tokens._CHUNK", 3)
        together = rationale_ids(tokenizer, texts, bounds)
    assert [(ids.tolist(), step.tolist()) for ids, step in together] == [(i.tolist(), s.tolist()) for i, s in alone]


class Scrambled:
    """The answer of a tokenizer, with the offsets of one row turned round."""

    def __init__(self, encoded: BatchEncoding, row: int) -> None:
        self._encoded = encoded
        self.encodings = list(encoded.encodings)
        self.encodings[row] = SimpleNamespace(offsets=encoded.encodings[row].offsets[::-1])

    def __getitem__(self, name: str) -> Any:
        return self._encoded[name]


def test_only_rows_with_unusable_offsets_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Tom has 3.", "He gets 4 more.", "So 7."]
    plain = TOKENIZERS["byte_bpe"]
    expected = token_spans(plain, texts)
    call = type(plain).__call__
    monkeypatch.setattr(type(plain), "__call__", lambda self, *a, **k: Scrambled(call(self, *a, **k), 1))
    for (ids, found), (same, right) in zip(token_spans(plain, texts), expected, strict=True):
        assert ids.tolist() == same.tolist()
        assert found.tolist() == right.tolist()


WORDS = st.sampled_from(["<eos>", " [STEP] ", "<|x|>", "3.50", "\n\n", "  ", "Tom", "'s", "é", "\x00", "\t", "unknown"])


def with_added_tokens(**options: bool) -> PreTrainedTokenizerFast:
    tokenizer = FAMILIES["byte_bpe"]()
    tokenizer.add_tokens([AddedToken("[STEP]", normalized=False, **options), AddedToken("unknown")])
    return tokenizer


@pytest.mark.parametrize("options", [{}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}])
@settings(max_examples=100)
@given(texts=st.lists(st.one_of(TEXTS, st.lists(WORDS, max_size=12).map("".join)), min_size=1, max_size=4))
def test_lengths_in_bytes_are_the_offsets(options: dict[str, bool], texts: list[str]) -> None:
    tokenizer = with_added_tokens(**options)
    bytewise = byte_tokens(tokenizer)
    assert bytewise
    found = bytewise.spans(texts)
    for row, (ids, spans_) in enumerate(_token_spans(tokenizer, texts)):
        if row in found:
            assert found[row][0].tolist() == ids.tolist()
            assert found[row][1].tolist() == spans_.tolist()
        else:
            assert not texts[row].isascii() or "[STEP]" in texts[row]  # which may swallow spaces


def test_many_texts_equal_few_of_them() -> None:
    texts = ["Tom has 3 apples. So 7.", "Zoë's 2.50 €", "", "a\u0301 <eos>"] * (_MANY // 4)
    tokenizer = TOKENIZERS["byte_bpe"]
    many, few = token_spans(tokenizer, texts), token_spans(tokenizer, texts[:4])
    assert len(many) == len(texts)
    for found, expected in zip(many, few * (_MANY // 4), strict=True):
        assert [part.tolist() for part in found] == [part.tolist() for part in expected]


def test_only_a_tokenizer_that_keeps_bytes_is_counted_in_bytes() -> None:
    kept = {name for name in FAMILIES if byte_tokens(TOKENIZERS[name])}
    assert kept == {"byte_bpe"}
    for part, other in (
        ("normalizer", normalizers.NFC()),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        ("post_processor", processors.ByteLevel(trim_offsets=True)),
    ):
        changed = FAMILIES["byte_bpe"]()
        setattr(changed.backend_tokenizer, part, other)
        assert byte_tokens(changed) is None, part
