import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_sample import byte_tokenizer, full_report, hostile_report
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kpod import schemas
from kpod.errors import DataError
from kpod.report.pieces import pieces
from kpod.report.token_views import Scale, spread, token_views, weight_scale
from kpod.report.tokens import write_token_view

BYTES = byte_tokenizer(["Mara has 3 boxes. ", "She gives 12 away."])


def unigram_tokenizer():
    """Sentencepiece-like: a space belongs to the word after it, unknown characters fall back to bytes."""
    words = [
        ("▁", -3.0),
        ("▁Mara", -2.0),
        ("▁has", -2.0),
        ("box", -2.0),
        ("es", -2.5),
        *((c, -4.0) for c in "3abcdehs"),
    ]
    vocabulary = [("<unk>", 0.0), *words, *((f"<0x{i:02X}>", -9.0) for i in range(256))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


UNIGRAM = unigram_tokenizer()


def wordpiece_tokenizer():
    words = ["[UNK]", "mara", "has", "##s", "box", "##es", "3", ".", "'", "t", "don", "n"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def tiles(found, ids):
    return [i for piece in found for i in range(piece.start, piece.stop)] == list(range(len(ids)))


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_byte_tokens_join_until_their_character_is_whole(text):
    ids = BYTES.encode(text, add_special_tokens=False)
    found = pieces(BYTES, ids)
    assert "".join(piece.text for piece in found) == text
    assert tiles(found, ids)
    assert "\ufffd" in text or not any("\ufffd" in piece.text for piece in found)


@given(st.text("Marahsboxe3 .é你👩\u200d", max_size=30))
@settings(max_examples=200)
def test_pieces_of_a_unigram_tokenizer_make_up_its_own_decoding(text):
    ids = UNIGRAM.encode(text, add_special_tokens=False)
    found = pieces(UNIGRAM, ids)
    assert "".join(piece.text for piece in found) == UNIGRAM.decode(ids)
    assert tiles(found, ids)


def test_word_pieces_keep_their_spaces():
    tokenizer = wordpiece_tokenizer()
    ids = tokenizer.encode("mara has boxes 3.", add_special_tokens=False)
    found = pieces(tokenizer, ids)
    assert tiles(found, ids)
    assert [piece.text for piece in found][:4] == ["mara", " has", " box", "es"]


@pytest.mark.parametrize("text", ["👩\u200d👩\u200d👧", "e\u0301", "👍\U0001f3fd"])
def test_what_is_seen_as_one_character_is_one_piece(text):
    found = pieces(BYTES, BYTES.encode(f"a {text} b", add_special_tokens=False))
    assert sum(text in piece.text for piece in found) == 1


def test_a_truly_undecodable_tail_ends():
    cut = BYTES.encode("你你你你", add_special_tokens=False)[:-1]
    found = pieces(BYTES, cut)
    assert tiles(found, cut)
    assert "".join(piece.text for piece in found).startswith("你你你")


def test_scale_ignores_outliers_and_bears_equal_weights():
    row = {"question_id": "q", "sample": 0, "token_ids": [1] * 1000, "step": [0] * 1000}
    weights = schemas.table([row | {"weight": [0.4] * 499 + [0.6] * 500 + [99.0]}], schemas.WEIGHTS)
    scale = weight_scale(weights)
    assert (scale.low, scale.high) == pytest.approx((0.4, 0.6))
    assert [scale.shade(w) for w in (0.1, 99.0)] == [0.0, 1.0]
    flat = weight_scale(schemas.table([row | {"weight": [0.5] * 1000}], schemas.WEIGHTS))
    assert (flat.low, flat.high) == pytest.approx((0.4, 0.6))
    assert flat.shade(0.5) == pytest.approx(0.5)
    small = weight_scale(schemas.table([row | {"weight": [0.01] * 1000}], schemas.WEIGHTS))
    assert (small.low, small.high) == pytest.approx((0.0, 0.2))
    large = weight_scale(schemas.table([row | {"weight": [1.0] * 1000}], schemas.WEIGHTS))
    assert (large.low, large.high) == pytest.approx((0.8, 1.0))
    assert Scale(0.0, 1.0).shade(0.25) == 0.25


def test_rows_are_spread_over_the_table():
    assert spread(3, 5) == [0, 1, 2]
    assert spread(100, 4) == [0, 25, 50, 75]


def test_views_match_by_key_whatever_the_order_of_rows():
    data = full_report(40)
    views = token_views(data.weights, data.questions, data.rationales, data.tokenizer, 6)
    shuffled = np.random.default_rng(3).permutation(40)
    mixed = token_views(
        data.weights, data.questions.take(shuffled), data.rationales.take(shuffled[::-1]), data.tokenizer, 6
    )
    assert mixed == views
    told = {row["question_id"]: row["rationale"] for row in data.rationales.to_pylist()}
    for view in views:
        assert "".join(token.text for token in view.tokens) == told[view.question_id]
        assert sum(token.starts_step for token in view.tokens) >= 1


def test_weights_of_another_run_are_refused():
    data = full_report(10)
    with pytest.raises(DataError, match="wp-0000"):
        token_views(data.weights, data.questions.slice(1), data.rationales, data.tokenizer, 24)
    row = data.weights.slice(0, 1).to_pylist()[0]
    short = schemas.table([row | {"weight": row["weight"][:-1]}], schemas.WEIGHTS)
    with pytest.raises(DataError, match="differ in length"):
        token_views(short, data.questions, data.rationales, data.tokenizer, 24)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_page_and_picture_are_whole_and_repeatable(make, tmp_path):
    data = make(12)
    for name in ("a", "b"):
        write_token_view(
            data.weights,
            data.questions,
            data.rationales,
            data.tokenizer,
            tmp_path / f"{name}.html",
            tmp_path / f"{name}.png",
        )
    png = (tmp_path / "a.png").read_bytes()
    assert png == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.info.keys() <= {"dpi"}
        orange = sum(n for n, (r, _, b, *_) in image.getcolors(2**24) if r - b > 80)
    assert orange > 2000


def test_no_rationale_makes_an_empty_page(tmp_path):
    data = full_report(3)
    empty = replace(data, weights=data.weights.slice(0, 0))
    write_token_view(
        empty.weights, data.questions, data.rationales, data.tokenizer, tmp_path / "t.html", tmp_path / "t.png"
    )
    assert "0 of 0 rationales" in (tmp_path / "t.html").read_text().replace("\n", " ")
