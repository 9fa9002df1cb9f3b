"""QLoRA: 4-bit frozen weights while training, adapters merged into the weights as they were."""

from pathlib import Path

import distill_tiny
import peft
import pytest
import torch
from configs import pipeline
from memory_tools import nbytes
from test_distill_stage import CONFIG, inputs  # noqa: F401
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from kpod import schemas
from kpod.config import Distill, Lora, Validation
from kpod.distill.stage import run
from kpod.errors import ConfigError
from kpod.training import extras, models

QLORA = CONFIG.model_copy(update={"adapter": Lora(rank=4, alpha=8, quantize="nf4")})


def llama(width: int) -> LlamaForCausalLM:
    """bitsandbytes packs 64 weights of a row together."""
    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=distill_tiny.VOCABULARY, pad_token_id=0, eos_token_id=1, **shape))


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes, which computes on a CPU too, only slower than without it."""
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (kpod[qlora])")
    monkeypatch.setattr(extras, "cuda", lambda: True)


def test_without_the_package_or_a_gpu_it_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pipeline({"distill": {"adapter": {"kind": "lora", "quantize": "nf4"}}})
    monkeypatch.setattr(extras, "cuda", lambda: False)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^distill\.adapter\.quantize: .*pip install 'kpod\[qlora\]'"):
        extras.check(config)
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"^distill\.adapter\.quantize: needs a CUDA device"):
        extras.check(config)
    monkeypatch.setattr(extras, "cuda", lambda: True)
    extras.check(config)


def test_the_stage_itself_refuses_too(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package bitsandbytes"):
        run(inputs, QLORA, inputs["out"])


def test_a_quantised_student_is_not_split() -> None:
    with pytest.raises(ValueError, match=r"leave out distill\.sharding"):
        Distill(adapter=Lora(quantize="nf4"), sharding=True)


@pytest.mark.usefixtures("bitsandbytes")
def test_a_frozen_weight_takes_half_a_byte(tmp_path: Path) -> None:
    models.save(llama(256), distill_tiny.tokenizer(), tmp_path)
    model, _ = models.load(tmp_path, "bf16", quantize=True)
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    state = [value for layer in layers for value in layer.weight.quant_state.as_dict(packed=True).values()]
    assert 0.5 < nbytes([*(layer.weight for layer in layers), *state]) / weights < 0.54
    assert len(layers) == 2 * 7
    assert model.get_output_embeddings().weight.dtype is torch.bfloat16


@pytest.mark.usefixtures("bitsandbytes")
def test_the_student_is_the_unquantised_base_with_the_adapter_merged(
    inputs: dict[str, Path],  # noqa: F811
) -> None:
    models.save(llama(64), distill_tiny.tokenizer(), inputs["base"] / "student")
    table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS).to_pylist()
    more = {"id": "v", "split": "validation", "answer": "7"}
    schemas.write(
        inputs["questions"] / "questions.parquet", schemas.table([*table, table[0] | more], schemas.QUESTIONS)
    )
    kept = QLORA.model_copy(
        update={
            "adapter": Lora(rank=4, alpha=8, quantize="nf4", keep=True),
            "validation": Validation(questions=1, max_new_tokens=8),
        }
    )
    figures = run(inputs, kept, inputs["out"])
    student = AutoModelForCausalLM.from_pretrained(inputs["out"] / "student")
    base = AutoModelForCausalLM.from_pretrained(inputs["base"] / "student")
    assert {value.dtype for value in student.parameters()} == {torch.float32}
    assert not hasattr(student.config, "quantization_config")
    ids = torch.arange(2, 40)[None]
    before = base(ids).logits
    alone = peft.PeftModel.from_pretrained(base, inputs["out"] / "adapter").eval()
    torch.testing.assert_close(alone(ids).logits, student(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, student(ids).logits, atol=1e-3)
    out = inputs["out"].parent / "plain"
    out.mkdir()
    plain = run(inputs, kept.model_copy(update={"adapter": Lora(rank=4, alpha=8)}), out)
    assert figures["loss"] == pytest.approx(plain["loss"], rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
def test_on_a_gpu_the_loss_falls(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    models.save(distill_tiny.llama(), distill_tiny.tokenizer(), tmp_path / "base")
    model, tokenizer = models.load(tmp_path / "base", "bf16", quantize=True)
    from kpod.methods.train import train

    config = Distill(
        adapter=Lora(rank=8, quantize="nf4"),
        precision="bf16",
        budget={"epochs": 4},
        lr=1e-2,
        gradient_checkpointing=True,
    )
    history = train(model, tokenizer, distill_tiny.rows(20), config, None, tmp_path / "work").history
    assert history[-1]["loss"] < history[0]["loss"]
    assert (tmp_path / "work" / "adapter" / "adapter_model.safetensors").is_file()
