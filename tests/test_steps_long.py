"""Long rationales: paragraphs as steps, and steps joined until a curriculum has few stages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_steps_stage import rationale

from kpod import schemas
from kpod.config import Steps
from kpod.steps import stage as steps
from kpod.steps.cutting import merged, split


@pytest.mark.parametrize(
    "text",
    [
        "First we read. Then we add.¦\n\nSo 3 + 4 = 7.\nThat is it.",
        "One.¦\n \t\nTwo.¦\n\n\nThree.\n",
        "One line.¦\nAnother. And more.¦\nA third.",  # without a blank line, lines
        "\n\nOne.\nStill one.¦\r\n\r\nTwo.",
        "One.¦\n\n---\n\nTwo.",  # a rule is no step
        "All in one. Yes.",
    ],
)
def test_paragraphs(text: str) -> None:
    assert "¦".join(split(text.replace("¦", ""), "paragraph")) == _placed(text)


def _placed(text: str) -> str:
    # A piece without a word goes with the step before it.
    return text.replace("¦\n\n---\n\nTwo", "\n\n---¦\n\nTwo")


@given(st.text(alphabet=st.sampled_from("ab. \n\t\r-7")))
def test_paragraphs_lose_nothing(text: str) -> None:
    assert "".join(split(text, "paragraph")) == text


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=60), st.integers(1, 20))
def test_merging_keeps_the_text_and_the_order(parts: list[str], most: int) -> None:
    found = merged(parts, most)
    assert "".join(found) == "".join(parts)
    assert len(found) <= most or len(found) == len(parts)
    assert len(found) == min(len(found), most)
    edges = {0} | {len("".join(parts[:count])) for count in range(1, len(parts) + 1)}
    assert {len("".join(found[:count])) for count in range(len(found) + 1)} <= edges  # no step is cut


def test_300_sentences_become_about_as_many_steps_as_asked() -> None:
    parts = split(" ".join(f"Step {number} adds {number} pens." for number in range(300)))
    assert len(parts) == 300
    for most in (8, 12, 16):
        found = merged(parts, most)
        assert len(found) == most
        assert max(map(len, found)) < 1.3 * min(map(len, found))
    assert merged(parts, 300) == parts


def test_the_stage_joins_steps(tmp_path: Path) -> None:
    source, out = tmp_path / "rationales", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    text = "\n\n".join(f"Paragraph {number}. It says more." for number in range(40))
    table = schemas.table([rationale("a", 0, text), rationale("b", 0, "One. Two.")], schemas.RATIONALES)
    schemas.write(source / "rationales.parquet", table)
    figures = steps.run({"rationales": source}, Steps(rule="paragraph", max_steps=10), out)
    assert (figures["steps_max"], figures["steps"]) == (10, 11)
    rows = schemas.read(out / "steps.parquet", schemas.STEPS).to_pylist()
    assert "".join(row["text"] for row in rows if row["question_id"] == "a") == text
    assert all(text[row["char_start"] : row["char_end"]] == row["text"] for row in rows if row["question_id"] == "a")
