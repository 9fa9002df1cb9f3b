"""Eq. 2-4, 6 and 7: the weighter, its masks, and what reaches it from either loss."""

from pathlib import Path

import pytest
import torch
from weighting_tiny import MODELS, byte_bpe, llama

from kpod.config import Weights
from kpod.errors import ModelError
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.weighting import network
from kpod.weighting.batch import Batch, collate
from kpod.weighting.build import build_predictor, build_weighter
from kpod.weighting.examples import usable
from kpod.weighting.loss import backward, blank, losses
from kpod.weighting.masks import mask
from kpod.weighting.network import Weighter
from kpod.weighting.predictor import Predictor

TOKENIZER = byte_bpe()


def setting(model: str = "llama", **settings: object) -> tuple[Batch, Weighter, torch.nn.Embedding, Predictor, Weights]:
    config = Weights(heads=2, precision="fp32", **settings)  # type: ignore[arg-type]
    student = MODELS[model](len(TOKENIZER))
    predictor, _ = build_predictor(student, TOKENIZER, config)
    texts = ["Tom has 3 apples. So 3 + 4 = 7.", "It is 12. Let us see. So 12 - 5 = 7 apples."]
    examples, _ = usable(
        tokenise(
            TOKENIZER,
            [Rationale(f"q{i}", 0, "How many?", None, "7", t, ((0, 9), (9, len(t)))) for i, t in enumerate(texts)],
        ),
        512,
    )
    batch = collate(examples, config.prefixes, 0, 0, torch.device("cpu"))
    embedding = student.get_input_embeddings()
    return batch, build_weighter(embedding, config), embedding, predictor, config


def test_padding_changes_no_weight() -> None:
    weighter = Weighter(32, 8, 4)
    torch.manual_seed(0)
    raw = torch.randn(1, 9, 32)
    alone = weighter(raw, torch.ones(1, 9, dtype=torch.bool))
    padded = torch.cat([raw, torch.full((1, 5, 32), 7.0)], dim=1)
    valid = torch.arange(14)[None] < 9
    torch.testing.assert_close(weighter(padded, valid)[:, :9], alone, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(weighter(padded, valid)).all()


def test_a_weight_depends_on_the_token_its_place_and_its_neighbours() -> None:
    torch.manual_seed(0)
    weighter = Weighter(32, 8, 4)
    valid = torch.ones(1, 6, dtype=torch.bool)
    raw = torch.randn(1, 1, 32).repeat(1, 6, 1)
    raw[0, 5] = torch.randn(32)
    first = weighter(raw, valid)[0, :5]  # the same token in five places, before another one
    assert (first - first[0]).abs().max() > 1e-6
    changed = raw.clone()
    changed[0, 5] = torch.randn(32)
    assert not torch.isclose(weighter(raw, valid)[0, 0], weighter(changed, valid)[0, 0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_every_weight_starts_near_one_value_whatever_the_scale_of_the_embedding(scale: float) -> None:
    torch.manual_seed(0)
    weighter = Weighter(64, 16, 4)
    weight = torch.sigmoid(weighter(torch.randn(4, 50, 64) * scale, torch.ones(4, 50, dtype=torch.bool)))
    assert (weight - network.START).abs().max() < 0.15


def test_no_visible_token_sees_one_that_is_not() -> None:
    torch.manual_seed(0)
    weighter, visible = Weighter(32, 8, 4), torch.arange(9)[None] < 6
    raw = torch.randn(1, 9, 32)
    other = raw.clone()
    other[:, 6:] = torch.randn(1, 3, 32)
    assert torch.equal(weighter(raw, visible)[visible], weighter(other, visible)[visible])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ModelError, match=r"weights\.heads is 5"):
        Weighter(32, 8, 5)


def test_a_saved_weighter_gives_the_same_weights(tmp_path: Path) -> None:
    weighter = Weighter(32, 8, 4)
    network.save(weighter, tmp_path / "a")
    raw, valid = torch.randn(2, 5, 32), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(network.load(tmp_path / "a")(raw, valid), weighter(raw, valid))
    (tmp_path / "a" / "weighter.json").unlink()
    with pytest.raises(ModelError, match="rerun stage weights"):
        network.load(tmp_path / "a")


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_hard_masks_are_bernoulli_at_any_temperature(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for probability in (0.05, 0.5, 0.9):
        logits = torch.full((40_000,), probability).logit()
        drawn = mask(logits, torch.rand(40_000, generator=generator), temperature)
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        assert abs(float(drawn.mean()) - probability) < 0.01


def test_the_gradient_of_a_hard_mask_is_that_of_the_soft_one() -> None:
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(0))
    hard, soft = (torch.zeros(50).requires_grad_() for _ in range(2))
    mask(hard, uniform, 0.7).sum().backward()
    mask(soft, uniform, 0.7, hard=False).sum().backward()
    assert torch.equal(hard.grad, soft.grad)  # type: ignore[arg-type]
    assert (hard.grad > 0).all()  # type: ignore[operator]


def test_extreme_randomness_gives_no_nan() -> None:
    logits = torch.tensor([0.0, 50.0, -50.0]).requires_grad_()
    drawn = mask(logits, torch.tensor([0.0, 0.0, 1.0]), 1.0)
    drawn.sum().backward()
    assert torch.isfinite(drawn).all()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["llama", "t5"])
@pytest.mark.parametrize("how", ["hard", "soft"])
def test_the_answer_loss_reaches_every_part_of_the_weighter(model: str, how: str) -> None:
    """What fails when masks are made by a threshold: the weighter then only learns to shrink."""
    batch, weighter, embedding, predictor, config = setting(model, mask=how)
    found, drawn, leaf = losses(batch, weighter, embedding, blank(embedding), predictor, config, 1.0)
    from_answer = backward(found, drawn, leaf, weighter, config.alpha, len(batch))
    for (name, _), gradient in zip(weighter.named_parameters(), from_answer, strict=True):
        if name != "key.bias":  # the softmax over keys takes it out
            assert float(gradient.abs().max()) > 1e-9, name


@pytest.mark.parametrize("how", ["hard", "soft"])
@pytest.mark.parametrize("per_length", [True, False])
def test_backward_is_the_gradient_of_eq_7(per_length: bool, how: str) -> None:
    batch, weighter, embedding, predictor, config = setting(per_length=per_length, mask=how, alpha=0.7)
    found, drawn, leaf = losses(batch, weighter, embedding, blank(embedding), predictor, config, 1.0)
    backward(found, drawn, leaf, weighter, config.alpha, 5)
    got = [p.grad.clone() for p in [*weighter.parameters(), *_trained(predictor)]]  # type: ignore[union-attr]
    for parameter in [*weighter.parameters(), *_trained(predictor)]:
        parameter.grad = None

    logits = weighter(embedding(batch.rationale), batch.visible)
    kept = mask(logits, batch.uniform, 1.0, hard=how == "hard")
    raw, mean = embedding(batch.rationale), embedding.weight.detach().mean(0)
    nll = predictor.nll(batch, kept[..., None] * raw + (1 - kept[..., None]) * mean)
    total = torch.zeros(())
    for row, example in enumerate(batch.examples):
        count, length = len(batch.ends[row]), len(example.rationale)
        scale = 1 if per_length else length
        total = total + scale * (nll[row].sum() / count + 0.7 * kept[row, :length].sum() / length)
    (total / 5).backward()
    for mine, parameter in zip(got, [*weighter.parameters(), *_trained(predictor)], strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-6)


def _trained(predictor: Predictor) -> list[torch.nn.Parameter]:
    return [p for p in predictor.parameters() if p.requires_grad]


def test_all_of_the_predictor_trains_but_its_embedding() -> None:
    whole, frozen = (
        {n for n, p in setting("llama", **settings)[3].model.named_parameters() if p.requires_grad}
        for settings in ({}, {"predictor_lr": 0.0})
    )
    assert not any("embed_tokens" in name for name in whole)
    assert any("layers.0." in name for name in whole)
    assert not frozen


def test_a_tied_output_layer_stays_with_the_embedding() -> None:
    model = setting("gpt2")[3].model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not model.get_output_embeddings().weight.requires_grad


def test_the_projection_to_another_width_is_the_same_each_time(tmp_path: Path) -> None:
    llama(len(TOKENIZER), seed=1, width=48).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    student, config = MODELS["llama"](len(TOKENIZER)), Weights(predictor=tmp_path, precision="fp32")
    projections = [build_predictor(student, TOKENIZER, config)[0].projection for _ in range(4)]
    assert all(one.weight.equal(projections[0].weight) for one in projections)


def test_attention_needs_no_table_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    real = torch.nn.functional.scaled_dot_product_attention

    def told(*args: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(attn_mask.shape))
        return real(*args, attn_mask=attn_mask)

    monkeypatch.setattr(network.F, "scaled_dot_product_attention", told)
    torch.manual_seed(0)
    weighter, raw = Weighter(32, 8, 4), torch.randn(3, 50, 32)
    visible = torch.arange(50)[None] < torch.tensor([[50], [20], [0]])
    logits = weighter(raw, visible)
    assert shapes == [(3, 1, 1, 50)]
    assert torch.isfinite(logits).all()  # a row of which nothing is visible, too
    torch.testing.assert_close(logits[1, :20], weighter(raw[1:2, :20], visible[1:2, :20])[0], rtol=1e-5, atol=1e-6)
