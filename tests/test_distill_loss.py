import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kpod.distill import weighted_nll


def case(shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 11, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < 0.3] = -100
    labels.view(-1)[0] = 3
    return torch.randn(*shape, 11, generator=generator), labels, torch.rand(shape, generator=generator)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_weights_of_one_give_plain_cross_entropy(shape: tuple[int, ...]) -> None:
    logits, labels, _ = case(shape)
    loss = weighted_nll(logits, labels, torch.ones(shape), int((labels != -100).sum()))
    torch.testing.assert_close(loss, F.cross_entropy(logits.view(-1, 11), labels.view(-1)), rtol=1e-6, atol=0)


def test_weighted_sum_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]))
    loss = weighted_nll(logits, torch.tensor([0, 2, -100]), torch.tensor([0.5, 1.0, 9.0]), 4)
    expected = -(0.5 * torch.log(torch.tensor(0.5)) + torch.log(torch.tensor(0.7))) / 4
    torch.testing.assert_close(loss, expected)


@given(st.integers(0, 10_000), st.integers(1, 19))
def test_parts_add_up_to_the_whole(seed: int, cut: int) -> None:
    logits, labels, weights = case((20,), seed)
    count = int((labels != -100).sum())
    whole = weighted_nll(logits, labels, weights, count)
    parts = [weighted_nll(logits[p], labels[p], weights[p], count) for p in (slice(0, cut), slice(cut, 20))]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-5, atol=1e-6)


def test_ignored_labels_have_no_gradient_whatever_their_weight() -> None:
    logits, labels, weights = case((3, 5))
    logits.requires_grad_()
    weights[labels == -100] = float("inf")
    weighted_nll(logits, labels, weights, 10).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[labels == -100] == 0).all()
    assert (logits.grad[labels != -100].abs().sum(-1) > 0).all()


def test_half_precision_logits_are_reduced_in_fp32() -> None:
    logits, labels, weights = case((4, 6))
    low = logits.bfloat16()
    assert weighted_nll(low, labels, weights, 7).dtype == torch.float32
    torch.testing.assert_close(weighted_nll(low, labels, weights, 7), weighted_nll(low.float(), labels, weights, 7))


def test_tensors_about_other_tokens_are_refused() -> None:
    logits, labels, weights = torch.zeros(2, 6, 5), torch.zeros(2, 6, dtype=torch.int64), torch.ones(2, 6)
    assert weighted_nll(logits[:0], labels[:0], weights[:0], 1) == 0
    wrong = [
        (logits, labels[:, :3], weights[:, :3]),
        (logits, labels, weights[:1, :1]),
        (logits[:1], labels, weights),
    ]
    for some in wrong:
        with pytest.raises(ValueError, match="about the same tokens"):
            weighted_nll(*some, 12)
