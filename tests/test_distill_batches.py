from typing import Any

import numpy as np
import pytest
import torch
from distill_tiny import STUDENTS, VOCABULARY, rows
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from kpod.errors import DataError, ModelError
from kpod.training import head
from kpod.training.batches import collate, epoch_batches
from kpod.training.examples import Example, example
from kpod.training.head import TargetNll, target_logits
from kpod.training.loss import token_nll, weighted_nll

SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
SCALED = {  # models that change the logits behind the output layer, or the states in front of it
    "soft cap": Gemma2Config(**SHAPE, **HEADS, head_dim=8, final_logit_softcapping=2.0),
    "divided": GraniteConfig(**SHAPE, **HEADS, logits_scaling=3.0),
    "multiplied": CohereConfig(**SHAPE, **HEADS, logit_scale=0.3),
    "absolute positions": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
}
CAPPED = ("soft cap", "divided", "multiplied")  # behind the output layer


def scaled(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(SCALED[name]).eval()


def start(model: PreTrainedModel) -> int | None:
    return model.config.decoder_start_token_id if model.config.is_encoder_decoder else None


def full_logits(model: PreTrainedModel, example: Example) -> torch.Tensor:
    """Logits [n, V] of the whole target of one row, from a plain forward pass without padding or selection."""
    prompt, target = torch.tensor(example.prompt)[None].long(), torch.tensor(example.target)[None].long()
    if model.config.is_encoder_decoder:
        shifted = torch.cat([torch.tensor([[start(model)]]), target[:, :-1]], dim=1)
        return model(input_ids=prompt, decoder_input_ids=shifted).logits[0]
    return model(input_ids=torch.cat([prompt, target], dim=1)).logits[0, prompt.shape[1] - 1 : -1]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_has_each_row_once_in_full_batches(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(np.array(lengths), size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
    again = epoch_batches(np.array(lengths), size, seed, epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_order_differs_between_epochs_and_seeds_and_sorting_saves_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 200, 640)
    orders = [np.concatenate(epoch_batches(lengths, 16, s, e)) for s, e in [(0, 0), (0, 1), (1, 0)]]
    assert not any((a == b).all() for a, b in [(orders[0], orders[1]), (orders[0], orders[2]), (orders[1], orders[2])])
    padded = sum(len(batch) * lengths[batch].max() for batch in epoch_batches(lengths, 16, 0, 0))
    assert padded < 1.1 * lengths.sum()


@pytest.mark.parametrize("decoder_start", [None, 0])
def test_the_end_of_a_text_is_trained_where_it_is_also_the_padding(decoder_start: int | None) -> None:
    examples = rows(5)
    ends = {int(example.target[-1]) for example in examples}
    batch = collate(examples, [0] * 5, pad=ends.pop(), decoder_start=decoder_start)
    assert not ends  # all rows end with the same token
    assert batch.labels.tolist() == np.concatenate([example.target for example in examples]).tolist()


@pytest.mark.parametrize("name", [*STUDENTS, *SCALED])
def test_selected_logits_equal_a_plain_forward_and_padding_does_not_matter(name: str) -> None:
    model = STUDENTS[name]() if name in STUDENTS else scaled(name)
    examples = rows(5)
    given_tokens = [example.input_tokens(number % 3) for number, example in enumerate(examples)]
    batch = collate(examples, given_tokens, pad=0, decoder_start=start(model))
    with torch.no_grad():
        found = target_logits(model, batch)
        expected = torch.cat([full_logits(model, e)[skip:] for e, skip in zip(examples, given_tokens, strict=True)])
    assert found.shape == (sum(len(e.target) for e in examples) - sum(given_tokens), VOCABULARY)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logits", [VOCABULARY * 4, 2**25], ids=["chunks", "whole"])
@pytest.mark.parametrize("name", [*STUDENTS, *SCALED])
def test_losses_by_chunks_and_their_gradients_equal_those_of_whole_logits(
    name: str, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "LOGITS", logits)
    model = STUDENTS[name]() if name in STUDENTS else scaled(name)
    batch = collate(rows(5), [0, 3, 1, 0, 2], pad=0, decoder_start=start(model))
    weighted_nll(target_logits(model, batch), batch.labels, batch.weights, 9).backward()
    expected = {name: value.grad.clone() for name, value in model.named_parameters()}
    losses = TargetNll(model)
    for _ in range(2):  # at the first call it is found out what comes behind the output layer
        model.zero_grad()
        found = losses(batch)
        torch.testing.assert_close(found, token_nll(target_logits(model, batch), batch.labels), rtol=1e-5, atol=1e-5)
        ((batch.weights * found).sum() / 9).backward()
        for key, value in model.named_parameters():
            torch.testing.assert_close(value.grad, expected[key], rtol=1e-4, atol=1e-6, msg=key)
    assert "forward" not in vars(model.get_output_embeddings())
    assert losses.last == (name not in CAPPED)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self.size = max(self.size, one.numel())
        return out


def test_memory_does_not_grow_with_the_batch_times_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS", 2**22)
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=2**17, **shape))
    generator = np.random.default_rng(0)
    long = [
        example((f"q{i}", 0), [1, 2], generator.integers(3, 2**17, 150).tolist(), generator.integers(3, 99, 3).tolist())
        for i in range(4)
    ]
    batch = collate(long, [0] * len(long), pad=0, decoder_start=None)
    losses, saved = TargetNll(model), []
    with (
        Largest() as seen,
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t),
    ):
        losses(batch).sum().backward()
    assert len(batch.labels) * 2**17 > 2**26
    assert seen.size <= 2**22
    # Beside the weights of the output layer, kept once a chunk without a copy, nothing of the vocabulary's size.
    weight = model.get_output_embeddings().weight.nbytes
    assert sum(size for size in saved if size != weight) < 2**22


@pytest.mark.parametrize("student", STUDENTS)
def test_labels_are_shifted_once(student: str) -> None:
    model, example = STUDENTS[student](), rows(1)[0]
    batch = collate([example], [0], pad=0, decoder_start=start(model))
    ours = weighted_nll(target_logits(model, batch), batch.labels, torch.ones(len(batch.labels)), len(batch.labels))
    prompt, target = torch.tensor(example.prompt)[None].long(), torch.tensor(example.target)[None].long()
    if student == "t5":
        theirs = model(input_ids=prompt, labels=target).loss
    else:
        labels = torch.cat([torch.full_like(prompt, -100), target], dim=1)
        theirs = model(input_ids=torch.cat([prompt, target], dim=1), labels=labels).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("student", STUDENTS)
def test_given_steps_get_no_gradient(student: str) -> None:
    model, example = STUDENTS[student](), rows(1)[0]
    skip = example.input_tokens(2)
    assert 0 < skip < len(example.target)
    labels = torch.tensor(example.target).long()
    labels[:skip] = -100
    logits = full_logits(model, example)
    logits.retain_grad()
    weighted_nll(logits, labels, torch.tensor(example.weight), len(labels) - skip).backward()
    assert (logits.grad[:skip] == 0).all()
    masked = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    batch = collate([example], [skip], pad=0, decoder_start=start(model))
    weighted_nll(target_logits(model, batch), batch.labels, batch.weights, len(batch.labels)).backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, masked[name], rtol=1e-4, atol=1e-6)


def test_a_model_that_does_not_use_its_output_layer_is_refused() -> None:
    model = STUDENTS["llama"]()
    model.set_output_embeddings(None)
    with pytest.raises(ModelError, match="no output embeddings"):
        target_logits(model, collate(rows(2), [0, 0], pad=0, decoder_start=None))


def test_a_row_without_prompt_or_answer_is_refused() -> None:
    example = rows(1)[0]
    parts = {"key": example.key, "target": example.target, "weight": example.weight, "step": example.step}
    with pytest.raises(DataError, match="needs a prompt"):
        Example(prompt=np.array([], dtype=np.int32), **parts)
    with pytest.raises(DataError, match="ends in an answer"):
        Example(prompt=example.prompt, **{**parts, "step": np.zeros_like(example.step)})
