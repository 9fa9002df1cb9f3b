"""Each variant against its own formula, written out with plain torch functions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distill_tiny import STUDENTS, llama, rows, t5, tokenizer
from transformers import PreTrainedModel

from kpod import observe
from kpod.config import Distill
from kpod.config.methods import Acl, Icl, MccKd, Objective, Spl
from kpod.errors import DataError, ModelError
from kpod.methods import Step, objective_of
from kpod.methods.acl import share
from kpod.methods.icl import input_tokens
from kpod.methods.spl import confidence
from kpod.methods.train import train
from kpod.training.examples import ANSWER, Example, Examples
from kpod.training.passes import Passes
from kpod.training.ranks import Ranks

pytestmark = pytest.mark.usefixtures("checkpoint_every_step")

ALONE = {"token_weights": False, "progressive": False, "precision": "fp32"}


def plain(examples: list[Example]) -> list[Example]:
    return [replace(example, weight=np.ones_like(example.weight)) for example in examples]


def pairs(questions: int) -> list[Example]:
    """Two rationales a question, with one answer."""
    found = plain(rows(2 * questions))
    for first, second in zip(found[::2], found[1::2], strict=True):
        second.target[-3:] = first.target[-3:]
    return [replace(row, key=(f"q{index // 2}", index % 2)) for index, row in enumerate(found)]


def settings(objective: Objective, **others: Any) -> Distill:
    return Distill(objective=objective, **{"budget": {"epochs": 3}, "batch_size": 8, "lr": 1e-2, **ALONE, **others})


def made(objective: Objective, examples: list[Example], model: PreTrainedModel, **others: Any) -> tuple[Any, Passes]:
    config = settings(objective, **others)
    table = Examples.of(examples)
    passes = Passes(model, model, table, 0, config, Ranks())
    return objective_of(config)(table, np.zeros((1, len(table)), int), config), passes


def own_logits(model: PreTrainedModel, row: Example) -> torch.Tensor:
    """Logits [n, V] of a row's target, from a forward pass of this row alone."""
    prompt, target = torch.tensor(row.prompt)[None].long(), torch.tensor(row.target)[None].long()
    if model.config.is_encoder_decoder:
        shifted = torch.cat([torch.tensor([[model.config.decoder_start_token_id]]), target[:, :-1]], dim=1)
        return model(input_ids=prompt, decoder_input_ids=shifted).logits[0]
    return model(input_ids=torch.cat([prompt, target], dim=1)).logits[0, prompt.shape[1] - 1 : -1]


def labels(row: Example) -> torch.Tensor:
    return torch.tensor(row.target).long()


class Losses:
    """Stands for passes that find these losses, one a call."""

    def __init__(self, *values: float | np.ndarray) -> None:
        self.values = list(values)

    def row_losses(self, chosen: Any, input_tokens: np.ndarray) -> np.ndarray:
        return np.zeros(len(input_tokens)) + self.values.pop(0)


# --- icl


def test_icl_gives_the_floor_of_rho_times_the_length() -> None:
    cases = [(10, 0.6), (9, 0.6), (10, 0.3), (7, 0.0), (1, 0.9), (3, 1.0)]
    assert [int(input_tokens(np.array(n), rho)) for n, rho in cases] == [6, 5, 3, 0, 0, 2]


@pytest.mark.parametrize("student", STUDENTS)
def test_icl_trains_the_last_tokens_of_questions_that_are_not_held_out(student: str, tmp_path: Path) -> None:
    model, examples = STUDENTS[student](), plain(rows(10))
    objective, _ = made(Icl(validation=0.2), examples, model)
    trained = [row for row, held in zip(examples, objective.held_out, strict=True) if not held]
    assert len(trained) == 8
    kept = [slice(int(0.6 * len(row.target)), None) for row in trained]
    nll = [
        F.cross_entropy(own_logits(model, r)[k], labels(r)[k], reduction="sum")
        for r, k in zip(trained, kept, strict=True)
    ]
    expected = sum(nll) / sum(len(row.target[k]) for row, k in zip(trained, kept, strict=True))
    history = train(model, tokenizer(), examples, settings(Icl(validation=0.2)), None, tmp_path).history
    assert history[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_icl_gives_less_whenever_validation_stalls() -> None:
    objective, _ = made(Icl(), plain(rows(10)), llama(), budget={"epochs": 20})
    found = []
    for epoch, loss in enumerate([3, 2, 2, 5, 4, 4.5, 6, 7]):
        objective.end_epoch(epoch, Losses(loss), last=False)
        found.append(objective.state["rho"])
    assert found == [0.6, 0.6, 0.3, 0.3, 0.3, 0.0, 0.0, 0.0]


def test_icl_watches_the_loss_of_held_out_rows_without_dropout() -> None:
    model, examples = t5(), plain(rows(10))
    objective, passes = made(Icl(validation=0.2), examples, model)
    model.train()
    told = objective.end_epoch(0, passes, last=False)
    assert model.training
    model.eval()
    skip = objective.input_tokens(0)
    expected = [
        F.cross_entropy(own_logits(model, examples[i])[skip[i] :], labels(examples[i])[skip[i] :])
        for i in np.flatnonzero(objective.held_out)
    ]
    assert told["validation_loss"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


# --- acl


def test_acl_share_grows_geometrically_up_to_one() -> None:
    assert [share(Acl(), epoch) for epoch in range(5)] == pytest.approx([0.3, 0.45, 0.675, 1, 1])
    assert [share(Acl(p=0.2, q=2, r=2), epoch) for epoch in range(7)] == [0.2, 0.2, 0.4, 0.4, 0.8, 0.8, 1]


def test_acl_trains_the_easiest_rows_by_scores_that_follow_the_loss() -> None:
    objective, _ = made(Acl(p=0.5, q=1.2, a=0.25), plain(rows(4)), llama(), budget={"epochs": 9})
    objective.initialize(Losses(np.array([4.0, 1.0, 3.0, 2.0])))
    assert objective.units(0) == [(1,), (3,)]
    objective.end_epoch(0, Losses(np.array([0.0, 9.0, 3.0, 2.0])), last=False)
    np.testing.assert_allclose(objective.state["scores"], [3.0, 3.0, 3.0, 2.0])
    assert objective.units(1) == [(0,), (1,), (3,)]
    assert [len(objective.units(epoch)) for epoch in range(5)] == [2, 3, 3, 4, 4]


def test_acl_scores_are_the_losses_of_the_student_before_training() -> None:
    model, examples = llama(), plain(rows(5))
    objective, passes = made(Acl(), examples, model, micro_batch=2)
    objective.initialize(passes)
    expected = [F.cross_entropy(own_logits(model, row), labels(row)).item() for row in examples]
    np.testing.assert_allclose(objective.state["scores"], expected, rtol=1e-5)


def test_acl_adds_the_divergence_from_the_student_before_training() -> None:
    before, model, examples = llama(0), llama(1), plain(rows(3))
    objective, passes = made(Acl(gamma=0.3, gamma_decay=0.5), examples, before)
    objective.setup(passes)
    passes.model = passes.wrapped = model
    (micro,) = passes.micro_batches([(0,), (1,), (2,)], np.zeros(3, int))
    tokens = sum(len(row.target) for row in examples)
    weights = micro.batch.weights
    found = objective.loss(passes, micro, weights, Step(epoch=2, tokens=tokens, units=3))
    old, new = (torch.cat([own_logits(m, row) for row in examples]).log_softmax(-1) for m in (before, model))
    kl = F.kl_div(new, old, log_target=True, reduction="sum")
    expected = F.nll_loss(new, torch.cat([labels(row) for row in examples])) + 0.3 * 0.5**2 * kl / tokens
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_acl_does_as_many_steps_as_its_shares_ask_for(tmp_path: Path) -> None:
    history = train(
        llama(), tokenizer(), plain(rows(20)), settings(Acl(), budget={"epochs": 4}), None, tmp_path
    ).history
    assert [sum(row["epoch"] == epoch for row in history) for epoch in range(4)] == [1, 2, 2, 3]  # 6, 9, 14, 20 rows


# --- spl


def test_spl_confidence_is_one_minus_the_variance_squared_of_token_and_row() -> None:
    probabilities = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    row = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    found = confidence(probabilities, row)
    for token in range(7):
        mates = [other for other in range(7) if row[other] == row[token]]
        of_row = np.var([np.mean([probabilities[k, other] for other in mates]) for k in range(5)])
        of_token = np.var([float(probabilities[k, token]) for k in range(5)])
        assert found[token].item() == pytest.approx((1 - of_token) ** 2 * (1 - of_row) ** 2, rel=1e-5)


def test_spl_weights_are_a_softmax_over_the_step_times_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = plain(rows(5))
    objective, passes = made(Spl(passes=3), examples, t5(), micro_batch=2)
    generator, drawn = torch.Generator().manual_seed(0), []

    def probabilities(self: object, passes: Passes, batch: Any) -> torch.Tensor:
        drawn.append(torch.rand(len(batch.labels), generator=generator))
        return drawn[-1]

    passes.model.train()
    objective.setup(passes)
    monkeypatch.setattr(type(objective), "_probabilities", probabilities)
    micros = list(passes.micro_batches([(i,) for i in range(5)], np.zeros(5, int)))
    tokens = sum(len(row.target) for row in examples)
    found = torch.cat(objective.weights(passes, micros, Step(0, tokens, 5)))
    scores = [confidence(torch.stack(drawn[3 * i : 3 * i + 3]), m.batch.row) for i, m in enumerate(micros)]
    torch.testing.assert_close(found, tokens * torch.cat(scores).softmax(0))
    assert found.mean().item() == pytest.approx(1, rel=1e-5)


def test_spl_sees_dropout_of_the_student_and_refuses_one_without(tmp_path: Path) -> None:
    model, examples = t5(), plain(rows(6))
    objective, passes = made(Spl(), examples, model)
    with pytest.raises(ModelError, match="has no dropout"):
        objective.setup(passes)  # in evaluation mode
    assert Spl().training_dropout(0.0) == 0.1
    assert Spl().training_dropout(0.3) == 0.3
    history = train(model, tokenizer(), examples, settings(Spl(), budget={"epochs": 6}), None, tmp_path).history
    assert history[-1]["loss"] < history[0]["loss"]


# --- mcc-kd


@pytest.mark.parametrize("student", STUDENTS)
def test_mcc_kd_is_cross_entropy_and_a_symmetric_divergence_with_gradient_through_both(student: str) -> None:
    model, examples = STUDENTS[student](), pairs(2)
    objective, passes = made(MccKd(alpha=0.7), examples, model)
    units = objective.units(0)
    assert sorted(units) == [(0, 1), (2, 3)]
    tokens = sum(len(row.target) for row in examples)

    def reference() -> torch.Tensor:
        logits = [own_logits(model, row) for row in examples]
        ce = F.cross_entropy(torch.cat(logits), torch.cat([labels(row) for row in examples]))
        kl = torch.zeros(())
        for first, second in ((0, 1), (2, 3)):
            p, q = (logits[i][-3:].log_softmax(-1) for i in (first, second))
            both = [F.kl_div(a, b, log_target=True, reduction="sum") / 3 for a, b in ((p, q), (q, p))]
            kl = kl + sum(both) / 2
        return ce + 0.7 * kl / 2

    expected = reference()
    expected.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    for size in (2, 4):  # a pair a pass, and all in one
        passes.config = passes.config.model_copy(update={"micro_batch": size})
        micros = list(passes.micro_batches(units, np.zeros(4, int)))
        assert len(micros) == 4 // size
        step = Step(0, tokens, 2)
        parts = [objective.loss(passes, m, m.batch.weights, step) for m in micros]
        torch.testing.assert_close(sum(parts), expected, rtol=1e-5, atol=1e-6)
        sum(parts).backward()
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-3, atol=1e-6)
        model.zero_grad()


def test_mcc_kd_draws_two_rationales_of_each_question_anew() -> None:
    examples = [replace(row, key=(f"q{i // 5}", i % 5)) for i, row in enumerate(plain(rows(11)))]
    objective, _ = made(MccKd(), examples, llama())
    epochs = [objective.units(epoch) for epoch in range(6)]
    for units in epochs:
        assert [{examples[i].key[0] for i in unit} for unit in units] == [{"q0"}, {"q1"}, {"q2"}]
        assert [len(set(unit)) for unit in units] == [2, 2, 1]
    assert len({tuple(units) for units in epochs}) > 3
    with pytest.raises(DataError, match=r"no question has two .* teacher\.samples"):
        made(MccKd(), plain(rows(4)), llama())


# --- all that remember something


class Stopping(Exception):
    pass


class Stop:
    """An observer that breaks the run off at an optimizer step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def progress(self, *_: object) -> None: ...
    def warning(self, message: str) -> None: ...
    def metrics(self, values: dict[str, float], step: int) -> None:
        self.left -= "lr" in values
        if not self.left:
            raise Stopping


@pytest.mark.parametrize("kind", ["icl", "acl", "spl", "mcc-kd"])
def test_a_variant_that_is_broken_off_goes_on_to_the_same_last_bit(kind: str, tmp_path: Path) -> None:
    # icl: every epoch stalls, so that its share changes on both sides of the break
    objectives = {"icl": Icl(drop=0.1, validation=0.2), "acl": Acl(p=0.5), "spl": Spl(), "mcc-kd": MccKd()}
    config = settings(
        objectives[kind], budget={"epochs": 8}, checkpoint_seconds=1e-9, lr=5e-2 if kind == "icl" else 1e-2
    )
    whole, resumed = llama(), llama()
    history = train(whole, tokenizer(), pairs(10), config, None, tmp_path / "whole").history
    with pytest.raises(Stopping), observe.observing(Stop(6)):
        train(llama(), tokenizer(), pairs(10), config, None, tmp_path / "broken")
    assert (tmp_path / "broken" / "checkpoint-5").is_dir()
    assert train(resumed, tokenizer(), pairs(10), config, None, tmp_path / "broken").history == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_rows_end_in_an_answer_that_is_always_trained() -> None:
    for row in pairs(2):
        assert row.input_tokens(ANSWER) == len(row.target) - 3
