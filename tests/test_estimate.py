"""What is estimated from shapes is what real training and real generation take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distill_tiny import VOCABULARY, tokenizer
from segments import prompt_ids
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, T5Config, T5ForConditionalGeneration
from typer.testing import CliRunner

from kpod.cli.app import app
from kpod.config import Difficulty, Distill, Evaluate, Weights
from kpod.errors import ConfigError
from kpod.estimate import memory
from kpod.estimate.memory import Row
from kpod.estimate.trace import Meter, nbytes
from kpod.evaluate.generate import generate
from kpod.methods.train import train
from kpod.training.batches import collate
from kpod.training.examples import Example, Examples, example
from kpod.training.head import TargetNll
from kpod.training.models import of_config
from kpod.weighting.build import build_predictor, build_weighter
from kpod.weighting.examples import usable
from kpod.weighting.train import Training

ROW = Row(prompt=40, rationale=110, answer=10)


def llama(**more: Any) -> LlamaConfig:
    shape = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
    return LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, **shape | more)


def t5() -> T5Config:
    shape = {"d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": 3, "num_heads": 4}
    return T5Config(vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", decoder_start_token_id=0, **shape)


def shape_of(config: Any) -> memory.Shape:
    return lambda dtype: of_config(config, dtype)


def real(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    kind = T5ForConditionalGeneration if config.is_encoder_decoder else LlamaForCausalLM
    return kind._from_config(config, dtype=dtype)


def rows(count: int) -> list[Example]:
    draw = np.random.default_rng(0)

    def ids(n: int) -> list[int]:
        return draw.integers(2, VOCABULARY, n).tolist()

    return [example((f"q{i}", 0), ids(ROW.prompt), ids(ROW.rationale), ids(ROW.answer)) for i in range(count)]


CASES = {
    "full": {},
    "full-accumulated": {"micro_batch": 2},
    "full-fp32": {"precision": "fp32"},
    "checkpointed": {"gradient_checkpointing": True},
    "lora": {"adapter": {"kind": "lora", "rank": 8}},
    "lora-checkpointed": {"adapter": {"kind": "lora", "rank": 8}, "gradient_checkpointing": True},
}


@pytest.mark.parametrize(
    ("student", "case"), [*(("llama", case) for case in CASES), ("tied", "full"), ("t5", "full"), ("t5", "lora")]
)
def test_training_takes_what_was_estimated(student: str, case: str, tmp_path: Path) -> None:
    config = t5() if student == "t5" else llama(tie_word_embeddings=student == "tied")
    settings = Distill(
        **{"batch_size": 4, "micro_batch": 4, "precision": "bf16", "budget": {"epochs": 1}, **CASES[case]}
    )
    told, _ = memory.distillation(shape_of(config), settings, ROW)
    adapted = settings.adapter.kind == "lora"
    model = real(config, torch.bfloat16 if adapted else torch.float32)
    assert told.weights == pytest.approx(nbytes([*model.parameters(), *model.buffers()]), rel=0.3 if adapted else 0.01)
    with Meter([*model.parameters(), *model.buffers()]) as meter:
        train(model, tokenizer(), rows(12), settings, None, tmp_path)
    # AdamW's moments come with the first step, so that the peak is that of a later one.
    assert told.total == pytest.approx(meter.peak, rel=0.15)


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("config", [llama(), t5()], ids=["llama", "t5"])
def test_weighting_takes_what_was_estimated(adapter: Any, config: Any, tmp_path: Path) -> None:
    fixed = {"predictor_adapter": adapter, "predictor_lr": 1e-3, "validation": 0.0}
    settings = Weights(heads=4, precision="bf16", batch_size=4, batch_tokens=10**6, warmup=1, epochs=1, **fixed)
    told, _ = memory.weighting(shape_of(config), settings, ROW)
    student = real(config, torch.bfloat16 if adapter == "lora" else torch.float32).eval()
    predictor, _ = build_predictor(student, tokenizer(), settings)
    predictor.template = ROW.answer - memory.SCORED
    embedding = student.get_input_embeddings()
    some, _ = usable(Examples.of(rows(8)).tokens, settings.max_tokens)
    with Meter([*student.parameters(), *student.buffers()]) as meter:
        Training(some, build_weighter(embedding, settings), embedding, predictor, settings, tmp_path).run()
    assert told.total == pytest.approx(meter.peak, rel=0.15)


def test_scoring_takes_what_was_estimated() -> None:
    settings = Difficulty(precision="fp32", batch_tokens=4 * ROW.tokens)
    told, _ = memory.scoring(shape_of(llama()), settings, ROW)
    model = real(llama(), torch.float32).eval()
    with Meter([*model.parameters(), *model.buffers()]) as meter, torch.inference_mode():  # as the stage does
        losses = TargetNll(model)
        for some in (rows(8)[:4], rows(8)[4:]):
            losses(collate(some, [0] * 4, 0, None))
    assert told.total == pytest.approx(meter.peak, rel=0.15)


def test_answering_takes_what_was_estimated(tmp_path: Path) -> None:
    config = llama(max_position_embeddings=4096)
    settings = Evaluate(precision="fp32", batch_size=8, max_new_tokens=200)
    model, tokens = real(config, torch.float32).eval(), tokenizer()
    model.generation_config.eos_token_id = tokens.eos_token_id
    asked = [(f"q{i}", "Tom has 3 apples. He buys 4 more. How many?", None) for i in range(8)]
    prompt = len(prompt_ids(tokens, asked[0][1]))
    told = memory.answering(shape_of(config), torch.float32, settings, prompt)
    with Meter([*model.parameters(), *model.buffers()]) as meter:
        answers = generate(model, tokens, asked, 8, 200, tmp_path)
    assert all(one.truncated for one in answers.values())
    assert told.total == pytest.approx(meter.peak, rel=0.15)


def test_operations_are_those_that_torch_counts(tmp_path: Path) -> None:
    settings = Distill(batch_size=4, micro_batch=4, precision="fp32", budget={"epochs": 1})
    _, flop = memory.distillation(shape_of(llama()), settings, ROW)
    model = real(llama(), torch.float32)
    batch = collate(rows(4), [0] * 4, 0, None)
    with FlopCounterMode(display=False) as counter:
        TargetNll(model.train())(batch).sum().backward()
    assert flop * 4 * ROW.tokens == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
def test_on_a_gpu_lora_on_1_5_billion_parameters_takes_what_was_estimated(checkpointed: bool, tmp_path: Path) -> None:
    shape = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
    config = LlamaConfig(vocab_size=151_936, num_key_value_heads=2, tie_word_embeddings=True, **shape)
    settings = Distill(
        adapter={"kind": "lora", "rank": 64, "alpha": 128}, precision="bf16", batch_size=16, micro_batch=16,
        gradient_checkpointing=checkpointed, budget={"epochs": 1},
    )  # fmt: skip
    told, _ = memory.distillation(shape_of(config), settings, ROW)
    with torch.device("cuda"):
        model = real(config, torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() - sum(value.nbytes for value in model.parameters())
    train(model, tokenizer(), rows(32), settings, None, tmp_path)
    assert told.total == pytest.approx(torch.cuda.max_memory_allocated() - before, rel=0.15)


def test_nf4_takes_half_a_byte_of_a_frozen_weight() -> None:
    plain, packed = (
        memory.distillation(shape_of(llama()), Distill(adapter=adapter, precision="bf16"), ROW)[0].weights
        for adapter in ({"kind": "lora"}, {"kind": "lora", "quantize": "nf4"})
    )
    linear = 4 * (2 * 192 * 192 + 2 * 192 * 96 + 3 * 192 * 512)
    assert plain - packed == pytest.approx((2 - memory.NF4) * linear, rel=1e-6)


def test_a_recipe_is_estimated_stage_by_stage_and_a_small_gpu_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPOD_HOME", str(tmp_path / "home"))
    folder = tmp_path / "student"
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 3, "num_attention_heads": 32}
    LlamaConfig(vocab_size=64_000, num_key_value_heads=8, **shape).save_pretrained(folder)
    monkeypatch.setattr("kpod.estimate.student.check", lambda student: None)  # it has no weights
    settings = [f"student={{kind: folder, path: {folder}}}", "distill.micro_batch=64", "distill.batch_size=64"]
    done = CliRunner().invoke(app, ["estimate", "demo", "--gpu", "l4", *(w for s in settings for w in ("--set", s))])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("Teacher: 6000 requests")
    table = {cells[0]: cells[1:] for cells in ([c.strip() for c in line.split("|")[1:-1]] for line in lines) if cells}
    assert list(table)[2:] == ["weights", "difficulty", "distill, 3 methods", "evaluate, 4 methods"]
    weights, gradients, optimizer, *_, total, hours = map(float, table["distill, 3 methods"])
    assert weights == pytest.approx(gradients, abs=0.1)
    assert optimizer == pytest.approx(2 * weights, abs=0.2)
    assert total > 4 * weights > 4
    assert hours > 0
    assert "distill does not fit into 24 GB: set distill.gradient_checkpointing" in done.output


def test_an_unknown_gpu_is_named() -> None:
    found = CliRunner().invoke(app, ["estimate", "demo", "--gpu", "tpu"])
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception) == "--gpu: tpu is none of a100, h100, h200, l4, rtx4090"
