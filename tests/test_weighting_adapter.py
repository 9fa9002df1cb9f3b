"""The answer predictor as adapters on a frozen base: the same loss at the start, far less memory, exact resume."""

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_tools import Kept, nbytes
from test_weighting_train import examples, state, training
from transformers import LlamaConfig, LlamaForCausalLM
from weighting_tiny import byte_bpe, llama, sums, train_saving_each_step, trained, world

from kpod import schemas
from kpod.config import Weights
from kpod.training import models
from kpod.training.task import Position
from kpod.weighting import build, stage
from kpod.weighting.batch import collate
from kpod.weighting.build import build_predictor, build_weighter, one_row_a_prefix, predictor_precision, resolved
from kpod.weighting.loss import blank, losses
from kpod.weighting.predictor import OnePass
from kpod.weighting.train import Training

TOKENIZER = byte_bpe()


def test_adapters_from_a_billion_parameters_on_unless_the_setting_says_otherwise() -> None:
    small, large = Weights().for_predictor(999_999_999), Weights().for_predictor(1_000_000_000)
    assert (small.predictor_adapter, small.predictor_lr) == ("full", 5e-5)
    assert (large.predictor_adapter, large.predictor_lr) == ("lora", 2e-4)
    assert Weights(predictor_adapter="full").for_predictor(10**10).predictor_adapter == "full"
    forced = Weights(predictor_adapter="lora", predictor_lr=1e-3).for_predictor(10**6)
    assert (forced.predictor_adapter, forced.predictor_lr) == ("lora", 1e-3)
    assert (predictor_precision(small), predictor_precision(large)) == ("fp32", "auto")


def test_the_size_is_read_without_weights(tmp_path: Path) -> None:
    model = llama(300)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert models.empty(tmp_path).num_parameters() == model.num_parameters()
    assert resolved(tmp_path, Weights()).predictor_adapter == "full"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_at_the_start_the_loss_and_the_weighters_gradient_are_those_of_the_bare_model(precision: Any) -> None:
    found = {}
    for adapter in ("full", "lora"):
        config = Weights(heads=2, precision=precision, predictor_adapter=adapter, predictor_lr=1e-3)
        student = llama(len(TOKENIZER)).to(models.compute_dtype(predictor_precision(config)))
        predictor, _ = build_predictor(student, TOKENIZER, config)
        embedding = student.get_input_embeddings()
        batch = collate(examples(4), 4, 0, 0, torch.device("cpu"))
        assert isinstance(one_row_a_prefix(predictor, batch, embedding(batch.rationale)), OnePass)
        weighter = build_weighter(embedding, config)
        told, _, leaf = losses(batch, weighter, embedding, blank(embedding), predictor, config, 1.0)
        told.answer.sum().backward()
        found[adapter] = told.answer.detach(), leaf.grad
    near = 1e-5 if precision == "fp32" else 0.05
    torch.testing.assert_close(found["lora"][0], found["full"][0], rtol=near, atol=near)
    assert found["lora"][1].norm() > 0
    assert torch.nn.functional.cosine_similarity(found["lora"][1].flatten(), found["full"][1].flatten(), 0) > 1 - near


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_predictor_of_its_own_scores_all_prefixes_in_one_pass(tmp_path: Path, precision: Any, adapter: Any) -> None:
    models.save(llama(len(TOKENIZER)), TOKENIZER, tmp_path)
    config = Weights(precision=precision, predictor=tmp_path, predictor_adapter=adapter, predictor_lr=1e-3)
    student = llama(len(TOKENIZER)).to(models.compute_dtype(precision))
    predictor, _ = build_predictor(student, TOKENIZER, config)
    batch = collate(examples(4), 4, 0, 0, torch.device("cpu"))
    embedded = student.get_input_embeddings()(batch.rationale)
    assert predictor.projection is not None
    assert isinstance(one_row_a_prefix(predictor, batch, embedded), OnePass)


def test_the_base_stays_as_it_is_and_the_adapters_learn(tmp_path: Path) -> None:
    run = training(tmp_path, predictor_adapter="lora", predictor_lr=1e-2, warmup=4, epochs=0)
    model = run.predictor.model
    base = {name: value.detach().clone() for name, value in model.named_parameters() if "lora_" not in name}
    assert all("lora_" in name for name in run.slow)
    assert {value.dtype for value in run.slow.values()} == {torch.float32}
    first = run.backward(np.arange(len(run.training)), Position())["answer_loss"]
    assert run.run()["answer_loss"] < first
    for name, value in model.named_parameters():
        if "lora_" not in name:
            assert torch.equal(value, base[name]), name


@pytest.fixture(scope="module")
def medium() -> LlamaForCausalLM:
    """Large enough that its layers, not its embedding, hold the parameters."""
    shape = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENIZER), pad_token_id=0, eos_token_id=1, **shape))


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_bytes_a_parameter(adapter: Any, medium: LlamaForCausalLM, tmp_path: Path) -> None:
    """bf16: all of it 18 bytes a weight (4 + 4 gradient + 8 Adam + 2 the copy of autocast), a frozen one 2."""
    medium.save_pretrained(tmp_path / "m")
    TOKENIZER.save_pretrained(tmp_path / "m")
    adapted = {"predictor_adapter": adapter, "predictor_lr": 1e-3}
    config = Weights(heads=2, precision="bf16", warmup=1, **adapted)
    student, _ = models.load(tmp_path / "m", predictor_precision(config))
    predictor, _ = build_predictor(student, TOKENIZER, config)
    embedding = student.get_input_embeddings()
    run = Training(examples(4), build_weighter(embedding, config), embedding, predictor, config, tmp_path / "work")
    weights = [value for name, value in student.named_parameters() if "embed_tokens" not in name]
    frozen = [value for value in weights if not value.requires_grad]
    trained = [value for value in weights if value.requires_grad]
    kept = Kept(known=[*student.parameters(), *run.weighter.parameters()])
    with kept:
        run.backward(np.arange(len(run.training)), Position())
        run.optimizer.step()
    state = [value for p in trained for value in run.optimizer.state[p].values() if value.dim()]
    copies = kept.like(weights)
    total = nbytes(weights) + 4 * sum(p.numel() for p in trained) + nbytes(state) + copies
    if adapter == "full":
        count = sum(p.numel() for p in trained)
        assert total / count == pytest.approx(18, rel=0.02)
    else:
        count, adapters = sum(p.numel() for p in frozen), sum(p.numel() for p in trained)
        assert {p.dtype for p in frozen} == {torch.bfloat16}
        assert kept.like(frozen) == 0
        assert total == pytest.approx(2 * count + 18 * adapters, rel=0.02)


def test_the_stage_with_adapters_weighs_every_rationale(tmp_path: Path) -> None:
    questions, rationales = sums(10)
    inputs = world(tmp_path, questions, rationales)
    out = tmp_path / "out"
    out.mkdir()
    adapted = {"predictor_adapter": "lora", "precision": "bf16"}
    config = Weights(heads=2, epochs=1, warmup=1, **adapted)
    figures = stage.run(inputs, config, out)
    table = schemas.read(out / "weights.parquet", schemas.WEIGHTS)
    assert table.num_rows == figures["rationales"] == 10
    assert 0 < figures["weight"] < 1


def test_a_killed_training_of_adapters_goes_on_to_the_same_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = build.build_predictor
    forced = {"predictor_adapter": "lora"}
    monkeypatch.setattr(build, "build_predictor", lambda s, t, c: own(s, t, c.model_copy(update=forced)))
    whole = trained(tmp_path / "whole")
    assert all("lora_" in name for name in whole.slow)
    process = multiprocessing.get_context("fork").Process(target=train_saving_each_step, args=(tmp_path / "killed", 5))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = trained(tmp_path / "killed")
    for (name, mine), theirs in zip(state(resumed).items(), state(whole).values(), strict=True):
        assert torch.equal(mine, theirs), name
