import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from report_sample import HOSTILE

from kpod.report.render import render
from kpod.text.hygiene import clean, drawable, label, shorten


def test_controls_are_shown_and_overrides_disarmed():
    assert clean("a\x00b\x1bc") == "a␀b␛c"
    assert clean("\u202eabc\u2066") == "⟨U+202E⟩abc⟨U+2066⟩"
    assert clean("a\r\nb\tc") == "a\nb\tc"


def test_text_of_any_script_is_left_alone():
    for text in ("3.50 €", "مرحبا", "你好", "👩‍👩‍👧", "नमस्ते", "e\u0301"):
        assert clean(text) == text


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_clean_text_can_be_written_and_holds_no_control(text):
    shown = clean(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in shown)
    assert clean(shown) == shown


def test_shorten_says_how_much_is_missing():
    assert shorten("abc", 3) == "abc"
    assert shorten("9" * 10_000, 10) == "9999999999… (9,990 more characters)"


def test_pictures_get_one_line_of_known_glyphs():
    assert drawable("a\nb 你") == "a b □"
    assert label("_hidden") == " _hidden"  # matplotlib leaves a label out that starts with an underscore
    assert len(label(HOSTILE * 3)) == 28


def test_every_value_of_a_template_is_cleaned_and_escaped():
    scale = type("Scale", (), {"low": 0.0, "high": 1.0})
    token = {"text": HOSTILE, "shade": 1.0, "weight": 1.0, "starts_step": False, "left_out": True}
    left_out = {"method": HOSTILE, "count": 1, "steps": 3}
    view = dict.fromkeys(("question", "answer", "taught", "question_id"), HOSTILE)
    page = render("tokens.html", {"views": [view | {"correct": False, "sample": 0, "tokens": [token]}], "scale": scale,
                                  "total": 1, "left_out": left_out})  # fmt: skip
    assert page.count("&lt;script&gt;") == 6
    assert "<script" not in page
    assert "\x00" not in page
    assert "{{ 7 * 7 }}" in page
    assert json.dumps(page)
