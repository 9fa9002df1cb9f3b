from pathlib import Path
from typing import Any

import pytest
import torch
from distill_tiny import STUDENTS, rows, tokenizer, trained
from safetensors.torch import load_file

from kpod.config import Budget, Distill, Lora
from kpod.distill import train
from kpod.errors import DataError, ModelError
from kpod.training import models
from kpod.training.adapter import trainable
from kpod.training.batches import collate
from kpod.training.head import TargetNll, target_logits
from kpod.training.loss import weighted_nll

ADAPTERS = [{"kind": "full"}, {"kind": "lora", "rank": 4, "alpha": 8}]


def same(a: torch.nn.Module, b: torch.nn.Module, **tolerance: float) -> None:
    assert list(a.state_dict()) == list(b.state_dict())
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], **tolerance)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["full", "lora"])
@pytest.mark.parametrize("student", STUDENTS)
def test_the_student_learns_and_is_a_plain_model_again(student: str, adapter: dict, tmp_path: Path) -> None:
    model, history = trained(student, tmp_path, budget={"epochs": 8}, adapter=adapter, lr=2e-2)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    before = STUDENTS[student]().state_dict()
    assert list(model.state_dict()) == list(before)
    assert any((before[name] != value).any() for name, value in model.state_dict().items())
    assert not model.training
    assert all(value.requires_grad for value in model.parameters())
    models.save(model, tokenizer(), tmp_path / "student")
    assert not list((tmp_path / "student").glob("adapter*"))
    loaded, _ = models.load(tmp_path / "student")
    same(loaded, model, rtol=0, atol=0)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["full", "lora"])
@pytest.mark.parametrize("student", STUDENTS)
def test_one_pass_of_eight_equals_eight_of_one(student: str, adapter: dict, tmp_path: Path) -> None:
    # lr, warmup: Adam divides by the gradient's size, so equal gradients near zero must not be amplified.
    settings = {"adapter": adapter, "lr": 1e-3}
    whole, history = trained(student, tmp_path / "a", micro_batch=8, **settings)
    parts, history_of_parts = trained(student, tmp_path / "b", micro_batch=1, **settings)
    assert [row["tokens"] for row in history] == [row["tokens"] for row in history_of_parts]
    for one, other in zip(history, history_of_parts, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    same(whole, parts, rtol=1e-3, atol=1e-5)


def test_the_first_loss_is_eq_15_over_the_batch(tmp_path: Path) -> None:
    for student in STUDENTS:
        # T5's own dropout of 0.1 must be off, or the two would differ.
        _, history = trained(student, tmp_path / student, batch_size=20, micro_batch=3)
        model, examples = STUDENTS[student](), rows(20)
        start = model.config.decoder_start_token_id if student == "t5" else None
        batch = collate(examples, [e.input_tokens(2) for e in examples], pad=0, decoder_start=start)
        loss = weighted_nll(target_logits(model, batch), batch.labels, batch.weights, len(batch.labels))
        assert history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_target_tokens_follow_the_curriculum(tmp_path: Path) -> None:
    _, history = trained("llama", tmp_path, budget={"epochs": 4})
    seen = [row["tokens"] for row in history if row["step"] % 3 == 0]
    plan = [2, 1, 0, 0]  # an epoch behind the last stage is like it
    expected = [sum(len(e.target) - e.input_tokens(given) for e in rows(20)) for given in plan]
    assert [b - a for a, b in zip([0, *seen], seen, strict=False)] == expected
    assert expected[0] < expected[1] < expected[2] == expected[3] == sum(len(e.target) for e in rows(20))


def test_the_order_of_the_input_rows_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name, examples in [("a", rows(20)), ("b", rows(20)[::-1])]:
        model = STUDENTS["llama"]()
        config = Distill(budget=Budget(epochs=2), batch_size=8, precision="fp32")
        train(model, tokenizer(), examples, config, None, tmp_path / name)
        found.append(model)
    same(*found, rtol=0, atol=0)


@pytest.mark.parametrize("student", STUDENTS)
def test_gradient_checkpointing_changes_nothing(student: str, tmp_path: Path) -> None:
    plain, _ = trained(student, tmp_path / "a", dropout=0.2)
    recomputed, _ = trained(student, tmp_path / "b", dropout=0.2, gradient_checkpointing=True)
    same(plain, recomputed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("student", STUDENTS)
def test_bf16_computes_in_bf16_and_learns_the_same_with_fp32_weights(student: str, tmp_path: Path) -> None:
    _, full = trained(student, tmp_path / "a")
    model, half = trained(student, tmp_path / "b", precision="bf16")
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    apart = [abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(full, half, strict=True)]
    assert 1e-6 < max(apart) < 0.03


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("adapter", ADAPTERS, ids=["full", "lora"])
def test_a_gpu_has_the_losses_of_the_cpu(student: str, adapter: dict, tmp_path: Path) -> None:
    _, expected = trained(student, tmp_path / "cpu", adapter=adapter, lr=1e-3)
    _, found = trained(student, tmp_path / "gpu", device="cuda", adapter=adapter, lr=1e-3)
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


@pytest.mark.parametrize("student", STUDENTS)
def test_compiled_blocks_change_nothing_and_leave_no_trace(
    student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpod.methods.task.BACKEND", "eager")  # captured by dynamo, not turned into C++
    captured = []
    monkeypatch.setattr(torch.nn.Module, "compile", _counting(torch.nn.Module.compile, captured))
    plain, _ = trained(student, tmp_path / "a", budget={"epochs": 1}, lr=1e-3)
    compiled, _ = trained(student, tmp_path / "b", budget={"epochs": 1}, lr=1e-3, compile=True)
    assert len(captured) == {"llama": 2, "t5": 4}[student]
    assert all(module._compiled_call_impl is None for module in compiled.modules())
    same(plain, compiled, rtol=1e-3, atol=1e-5)


def _counting(original: Any, seen: list[torch.nn.Module]) -> Any:
    def compile_(module: torch.nn.Module, **options: Any) -> None:
        seen.append(module)
        original(module, **options)

    return compile_


def saved_bytes(dtype: torch.dtype) -> tuple[int, int]:
    """Bytes that a step of LoRA in bf16 keeps for its backward beside the parameters; frozen weights of its layers."""
    model, kept = STUDENTS["llama"]().to(dtype), {}
    with trainable(model, Distill(adapter={"kind": "lora", "rank": 4}, precision="bf16")):
        trained = {value.dtype for value in model.parameters() if value.requires_grad}
        assert trained == {torch.float32}
        own = {value.untyped_storage().data_ptr() for value in model.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = tensor  # held, so that its place is not used again
            return tensor

        batch = collate(rows(4), [0] * 4, pad=0, decoder_start=None)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), models.autocast("bf16"):
            loss = TargetNll(model)(batch).sum()
        loss.backward()
        frozen = sum(value.numel() for name, value in model.named_parameters() if "base_layer" in name)
    assert {value.dtype for value in model.parameters()} == {torch.float32}  # merged with all digits
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), frozen


def test_a_frozen_base_in_bf16_is_not_cast_again_and_kept_for_the_backward_pass() -> None:
    (full, frozen), (half, _) = saved_bytes(torch.float32), saved_bytes(torch.bfloat16)
    assert full - half >= 2 * frozen  # two bytes a frozen weight


def test_adapters_on_a_bf16_base_are_merged_in_fp32(tmp_path: Path) -> None:
    config = Distill(
        budget=Budget(epochs=2), batch_size=8, lr=1e-3, precision="bf16", adapter=Lora(rank=4, alpha=8, keep=True)
    )
    model = STUDENTS["llama"]().to(torch.bfloat16)
    before = {name: value.float().clone() for name, value in model.state_dict().items()}
    train(model, tokenizer(), rows(20), config, None, tmp_path)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    down, up = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    expected = before[f"{name}.weight"] + 2 * up @ down  # alpha / rank
    assert (expected.bfloat16().float() - expected).abs().max() > 1e-5  # what bf16 would lose
    torch.testing.assert_close(model.state_dict()[f"{name}.weight"], expected, rtol=0, atol=1e-7)


def test_dropout_is_put_back(tmp_path: Path) -> None:
    model, _ = trained("t5", tmp_path, budget={"epochs": 1}, dropout=0.5)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no example"):
        train(STUDENTS["llama"](), tokenizer(), [], Distill(), None, tmp_path)


def test_a_loss_that_blows_up_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lower distill\.lr"):
        trained("llama", tmp_path, lr=1e30, max_grad_norm=1e30)
