"""Rows that a model has no positions for are set aside, and a padding id that it does not embed harms nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel
from weighting_tiny import byte_bpe, rationale, sums, world

from kpod import schemas
from kpod.config import Difficulty, Distill, Evaluate, Weights
from kpod.difficulty import stage as difficulty
from kpod.distill import stage as distill
from kpod.errors import ModelError
from kpod.evaluate import stage as evaluate
from kpod.training import models
from kpod.weighting import stage as weighting

POSITIONS = 110
WEIGHTS = Weights(heads=2, precision="fp32", epochs=1, warmup=0, batch_size=4)
DISTILL: dict[str, Any] = {
    "budget": {"epochs": 1},
    "batch_size": 4,
    "micro_batch": 4,
    "precision": "fp32",
    "token_weights": False,
    "progressive": False,
    "validation": None,
}


def gpt2(vocabulary: int, positions: int = POSITIONS) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 1, "n_head": 4, "bos_token_id": 1, "eos_token_id": 1}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_positions=positions, **shape)).eval()


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Eight rationales that fit and one that does not."""
    questions, rationales = sums(8)
    rationales = [rationale(row["question_id"], row["rationale"][-30:]) for row in rationales]
    rationales[3] = rationale("q003", "Tom has 5 apples and 6 more. " * 20 + "So 5 + 6 = 11.")
    tokenizer = byte_bpe()
    return world(tmp_path, questions, rationales, gpt2(len(tokenizer)), tokenizer)


def _aside(out: Path) -> list[tuple[str, str]]:
    rows = schemas.read(out / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    return [(row["row"], row["reason"]) for row in rows]


@pytest.mark.parametrize("stage", ["weights", "difficulty", "distill"])
def test_a_row_longer_than_learnt_positions_is_set_aside(tmp_path: Path, inputs: dict[str, Path], stage: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if stage == "weights":
        figures = weighting.run(inputs, WEIGHTS, out)
        kept = figures["rationales"]
    elif stage == "difficulty":
        kept = difficulty.run(inputs, Difficulty(weighting="uniform", precision="fp32"), out)["rationales"]
    else:
        kept = distill.run(inputs, Distill(**DISTILL), out)["examples"]
    [(row, reason)] = _aside(out)
    assert (kept, row) == (7, "q003/0")
    assert reason.endswith(f"has {POSITIONS} positions")


def test_positions_of_models(inputs: dict[str, Path]) -> None:
    model, _ = models.load(inputs["base"] / "student")
    assert models.positions(model) == models.Positions(POSITIONS, apart=False)
    from transformers import BartConfig, T5Config, T5ForConditionalGeneration

    class Shell(torch.nn.Module):
        config = BartConfig(max_position_embeddings=20)

    apart = models.positions(Shell())
    assert apart == models.Positions(20, apart=True)
    shape = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2, "vocab_size": 10}
    assert models.positions(T5ForConditionalGeneration(T5Config(**shape))) is None


def _with_added_padding(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id == 300


@pytest.mark.parametrize("stage", ["difficulty", "distill", "evaluate"])
def test_a_padding_token_without_a_row_in_the_embedding(tmp_path: Path, inputs: dict[str, Path], stage: str) -> None:
    _with_added_padding(inputs["base"] / "student")
    out = tmp_path / "out"
    out.mkdir()
    if stage == "difficulty":
        assert difficulty.run(inputs, Difficulty(weighting="uniform", precision="fp32"), out)["rationales"] == 7
    elif stage == "distill":
        assert distill.run(inputs, Distill(**DISTILL), out)["examples"] == 7
        assert models.load(out / "student")[1].pad_token_id == 1
    else:
        given = {"questions": inputs["questions"], "student": inputs["base"]}
        evaluate.run(given, Evaluate(max_new_tokens=4, splits=["train"]), out)


def test_an_end_token_without_a_row_in_the_embedding_is_one_line(inputs: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    folder = inputs["base"] / "student"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="end-of-sequence token has the id 300, the model embeds 300 tokens"):
        models.load(folder)
