"""Long rationales: paragraphs as steps, steps joined until a curriculum has few stages, memory by length."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_steps_stage import rationale
from transformers import LlamaConfig, LlamaForCausalLM
from weighting_tiny import byte_bpe, question

import kpod
from kpod import schemas
from kpod.config import Difficulty, Steps, Weights
from kpod.difficulty.stage import token_losses
from kpod.estimate.trace import Meter
from kpod.steps import stage as steps
from kpod.steps.cutting import merged, split
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.training import examples, models
from kpod.weighting import examples as weighted
from kpod.weighting.infer import infer
from kpod.weighting.network import Weighter


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


def long_student() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, max_position_embeddings=32_768, eos_token_id=1, **shape)).eval()


def counted(sentences: int) -> str:
    return " ".join(f"Step {n}: {n} + 3 = {n + 3} pens." for n in range(sentences))


def test_a_rationale_of_200_sentences_has_a_curriculum_of_few_stages(tmp_path: Path) -> None:
    models.save(long_student(), byte_bpe(), tmp_path / "student")
    texts = {"a": counted(200), "b": counted(150), "c": "One. Two."}
    given = {
        "questions": schemas.table([question(name, "How many?", "7") for name in texts], schemas.QUESTIONS),
        "rationales": schemas.table([rationale(name, 0, text) for name, text in texts.items()], schemas.RATIONALES),
        "base": tmp_path / "student",
    }
    most = {"max_tokens": 8192, "precision": "fp32"}
    config = kpod.load(Path(__file__).parent / "tiny.yaml", **{"curriculum.epochs": 12, "curriculum.T": 0.99})
    cut = kpod.stage("steps", Steps(max_steps=12), **given)
    tokens = kpod.stage("tokens", config, steps=cut, **given)
    assert max(map(len, tokens.table("tokens")["rationale_ids"].to_pylist())) > 2000
    weights = kpod.stage("weights", Weights(heads=2, epochs=1, warmup=0, **most), tokens=tokens, **given)
    assert weights.figures["quarantined"] == 0
    made = kpod.stage("difficulty", Difficulty(**most), tokens=tokens, weights=weights, **given)
    assert made.table("difficulty").num_rows == 12 + 12 + 2
    plan = kpod.stage("curriculum", config, tokens=tokens, difficulty=made, **given).table("curriculum").to_pylist()
    first = [row["input_steps"] for row in plan if row["question_id"] == "a"]
    assert len(first) == 12
    assert first == sorted(first, reverse=True)
    assert first[0] > first[-1] == 0


def _weigh(one: Rationale, model: LlamaForCausalLM) -> None:
    found, _ = weighted.usable(tokenise(byte_bpe(), [one]), 32_768)
    infer(found, Weighter(16, 8, 2), model.get_input_embeddings(), 8192)


def _score(one: Rationale, model: LlamaForCausalLM) -> None:
    found, _ = examples.usable(tokenise(byte_bpe(), [one]), 32_768, None)
    with torch.inference_mode():
        token_losses(model, 0, found, 8192)


@pytest.mark.parametrize("work", [_weigh, _score])
def test_memory_grows_with_the_length_and_not_with_its_square(
    work: Callable[[Rationale, LlamaForCausalLM], None],
) -> None:
    model, peaks, lengths = long_student(), [], []
    for sentences in (50, 400):
        text = counted(sentences)
        one = Rationale("q", 0, "How many?", None, "7", text, ((0, len(text)),))
        lengths.append(int(tokenise(byte_bpe(), [one]).rationale.size[0]))
        with Meter(model.parameters()) as meter:
            before = meter.live
            work(one, model)
        peaks.append(meter.peak - before)
    assert lengths[1] > 5000
    assert peaks[1] / peaks[0] < 1.5 * lengths[1] / lengths[0]
