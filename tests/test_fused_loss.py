"""Where liger-kernel is installed it computes the losses on CUDA, with the weights of single tokens kept."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from distill_tiny import STUDENTS, rows

from kpod.training import head
from kpod.training.batches import Batch, collate
from kpod.training.head import TargetNll, target_logits
from kpod.training.loss import token_nll


class Linear(torch.nn.Linear):
    """An output layer that might compute something else."""


def liger(
    input: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    bias: torch.Tensor | None = None,
    ce_weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    lse_square_scale: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    softcap: float | None = None,
    return_z_loss: bool = False,
    accum_dtype: torch.dtype | None = None,
    use_token_scaling: bool = False,
    return_token_accuracy: bool = False,
    return_predicted_tokens: bool = False,
    chunk_mem_const: int = 1,
) -> torch.Tensor:
    """With the signature of liger-kernel 0.8.5."""
    CALLS.append({"dtype": input.dtype, "accum_dtype": accum_dtype, "chunk_mem_const": chunk_mem_const})
    assert input.dtype == weight.dtype
    return F.cross_entropy(F.linear(input, weight, bias).float(), target, reduction=reduction)


def old(input: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    raise AssertionError("its gradient is wrong")


CALLS: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    CALLS.clear()
    head._liger.cache_clear()
    yield
    head._liger.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, function: Any, device: str = "cpu") -> None:
    """Let `function` be liger-kernel's, and be used on `device`."""
    module = ModuleType("functional")
    module.liger_fused_linear_cross_entropy = function  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", module)
    monkeypatch.setattr(head, "FUSED_ON", device)


def batch_of(name: str) -> Batch:
    return collate(rows(5), [0, 3, 1, 0, 2], pad=0, decoder_start=0 if name == "t5" else None)


def gradients(model: torch.nn.Module, losses: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the losses under weights from 0 to 2."""
    model.zero_grad()
    (torch.linspace(0, 2, len(losses), device=losses.device) * losses).sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("name", STUDENTS)
def test_where_installed_it_gives_the_losses_and_gradients_of_whole_logits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, liger)
    model, batch = STUDENTS[name](), batch_of(name)
    whole = token_nll(target_logits(model, batch), batch.labels)
    expected = gradients(model, whole)
    found = TargetNll(model)(batch)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
    for key, value in gradients(model, found).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-6, msg=key)
    width = model.get_output_embeddings().weight.shape[1]
    [call] = CALLS
    assert call["dtype"] == call["accum_dtype"] == torch.float32
    assert call["chunk_mem_const"] == head.LOGITS // (len(batch.labels) * width)


def test_in_mixed_precision_it_computes_in_bf16_with_a_gradient_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, liger)
    model, batch = STUDENTS["llama"](), batch_of("llama")
    with torch.autocast("cpu", torch.bfloat16):
        whole = token_nll(target_logits(model, batch), batch.labels)
        found = TargetNll(model)(batch)
    torch.testing.assert_close(found, whole)
    assert [call["dtype"] for call in CALLS] == [torch.bfloat16]
    assert {value.dtype for value in gradients(model, found).values()} == {torch.float32}


@pytest.mark.parametrize("case", ["other device", "other layer", "old release", "not installed"])
def test_elsewhere_the_chunks_do(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = STUDENTS["llama"](), batch_of("llama")
    install(monkeypatch, old if case == "old release" else liger, "cuda" if case == "other device" else "cpu")
    if case == "not installed":
        monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", None)
    if case == "other layer":
        model.get_output_embeddings().__class__ = Linear
    torch.testing.assert_close(TargetNll(model)(batch), token_nll(target_logits(model, batch), batch.labels))
    assert not CALLS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_liger_itself_equals_whole_logits(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("liger_kernel")
    monkeypatch.setattr(head, "LOGITS", 2**12)  # several chunks
    model, batch = STUDENTS["llama"]().cuda(), batch_of("llama").to(torch.device("cuda"))
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        whole = token_nll(target_logits(model, batch), batch.labels)
        found = TargetNll(model)(batch)
        assert head.fused(model.get_output_embeddings(), torch.zeros(1, 32).cuda(), batch.labels[:1]) is not None
    expected = gradients(model, whole)
    torch.testing.assert_close(found, whole, rtol=1e-2 if precision == "bf16" else 1e-4, atol=1e-4)
    for key, value in gradients(model, found).items():
        apart = (value - expected[key]).norm() / expected[key].norm()
        assert apart < (0.02 if precision == "bf16" else 1e-4), key
