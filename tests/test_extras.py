"""Settings that need a package or a GPU of their own say so in one line, before anything runs."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import pipeline
from distill_tiny import llama, rows, tokenizer
from evaluate_tiny import questions, student
from torch.testing import assert_close

from kpod import schemas
from kpod.config import Distill, Evaluate
from kpod.errors import ConfigError, ModelError
from kpod.evaluate import stage
from kpod.methods.train import train
from kpod.training import extras, models


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let these packages be found, as far as `find_spec` is concerned."""
    found = importlib.util.find_spec
    spec = importlib.util.spec_from_loader("there", loader=None)
    monkeypatch.setattr(extras, "find_spec", lambda name: spec if name in packages else found(name))


@pytest.mark.parametrize("key", ["distill", "evaluate"])
@pytest.mark.parametrize(
    ("chosen", "package"), [("flash_attention_2", "flash-attn"), ("flash_attention_3", "flash-attn-3")]
)
def test_flash_attention_asks_for_its_package_then_for_a_gpu(
    key: str, chosen: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pipeline({key: {"attn_implementation": chosen}})
    monkeypatch.setattr(extras, "cuda", lambda: False)
    with pytest.raises(ConfigError, match=rf"^{key}\.attn_implementation: {chosen} needs the package {package};"):
        extras.check(config)
    installed(monkeypatch, "flash_attn", "flash_attn_interface")
    with pytest.raises(ConfigError, match=rf"^{key}\.attn_implementation: {chosen} needs a CUDA device"):
        extras.check(config)
    monkeypatch.setattr(extras, "cuda", lambda: True)
    extras.check(config)


def test_flex_attention_asks_for_a_gpu_and_torchs_own_kernels_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "cuda", lambda: False)
    with pytest.raises(ConfigError, match="flex_attention needs a CUDA device"):
        extras.check(pipeline({"distill": {"attn_implementation": "flex_attention"}}))
    extras.check(pipeline({"distill": {"attn_implementation": "eager"}}))


def test_flash_attention_is_not_asked_for_in_fp32() -> None:
    with pytest.raises(ValueError, match="computes in bf16"):
        Distill(attn_implementation="flash_attention_2", precision="fp32")


@pytest.mark.parametrize("stage_name", ["weights", "difficulty", "distill", "evaluate"])
def test_more_processes_than_gpus_are_refused_in_one_line(stage_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pipeline({stage_name: {"processes": 3}})
    extras.check(config)  # without a GPU they share the cores
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=rf"^{stage_name}\.processes: 3 need a GPU each, and torch sees 2: set it"):
        extras.check(config)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    extras.check(config)


def test_a_stage_by_itself_refuses_more_processes_than_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"^processes: 2 need a GPU each"):
        stage.run({}, Evaluate(processes=2), tmp_path)


def test_a_model_without_the_kernel_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package seems to be there, and cannot be imported: as with one built for another torch."""
    monkeypatch.setattr(models, "check_attention", lambda chosen: None)
    folder = student(tmp_path / "base", llama()) / "student"
    with pytest.raises(ModelError, match=r"cannot be loaded as a model: .*[Ff]lash") as raised:
        models.load(folder, "bf16", "flash_attention_2")
    assert "\n" not in str(raised.value)


def test_the_kernel_that_is_asked_for_trains_and_answers_the_same(tmp_path: Path) -> None:
    inputs = {"student": student(tmp_path / "base", llama()), "questions": questions(tmp_path / "questions")}
    told, losses = [], []
    for chosen in ("sdpa", "eager"):
        model, _ = models.load(inputs["student"] / "student", attention=chosen)
        assert model.config._attn_implementation == chosen
        config = Distill(budget={"epochs": 1}, batch_size=8, precision="fp32", attn_implementation=chosen)
        ended = train(model, tokenizer(), rows(20), config, None, tmp_path / chosen)
        losses.append(torch.tensor([row["loss"] for row in ended.history]))
        out = tmp_path / f"out-{chosen}"
        out.mkdir()
        stage.run(inputs, Evaluate(max_new_tokens=20, precision="fp32", attn_implementation=chosen), out)
        told.append(schemas.read(out / "predictions.parquet", schemas.PREDICTIONS)["completion"].to_pylist())
    assert told[0] == told[1]
    assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
@pytest.mark.parametrize("chosen", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_on_a_gpu_each_kernel_learns_what_sdpa_learns(chosen: Any, tmp_path: Path) -> None:
    try:
        extras.check_attention(chosen)
    except ConfigError as error:
        pytest.skip(str(error))
    found = {}
    for kernel in ("sdpa", chosen):
        folder = tmp_path / f"student-{kernel}"
        models.save(llama(heads=2), tokenizer(), folder)  # flex_attention needs a head of 16 at least
        model, _ = models.load(folder, "fp32", kernel)
        config = Distill(budget={"epochs": 2}, batch_size=8, lr=1e-3, precision="bf16", attn_implementation=kernel)
        found[kernel] = [
            row["loss"] for row in train(model, tokenizer(), rows(20), config, None, tmp_path / kernel).history
        ]
    assert found[chosen] == pytest.approx(found["sdpa"], rel=0.03)
