"""Training of the weighter: accumulation, exact resume, early stop, what is reported."""

import math
import multiprocessing
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from weighting_tiny import MODELS, byte_bpe, sums, train_saving_each_step, trained

from kpod import observe
from kpod.config import Weights
from kpod.errors import ModelError
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.training.batches import epoch_batches
from kpod.training.engine import Engine
from kpod.training.task import Position
from kpod.weighting import train
from kpod.weighting.build import build_predictor, build_weighter
from kpod.weighting.examples import Examples, usable
from kpod.weighting.order import held_out
from kpod.weighting.train import Training

pytestmark = pytest.mark.usefixtures("checkpoint_every_step")

TOKENIZER = byte_bpe()


class TeacherReplies:
    """What a run reports."""

    def __init__(self) -> None:
        self.curves: list[tuple[int, dict[str, float]]] = []
        self.warnings: list[str] = []
        self.bars: list[str] = []

    def progress(self, description: str, *_: object) -> None:
        if description not in self.bars:
            self.bars.append(description)

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.curves.append((step, dict(values)))

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def examples(count: int = 12, samples: int = 1) -> Examples:
    questions, texts = sums(count)
    rows = [
        Rationale(q["id"], sample, q["question"], None, q["answer"], t["rationale"], ((0, 5), (5, len(t["rationale"]))))
        for q, t in zip(questions, texts, strict=True)
        for sample in range(samples)
    ]
    return usable(tokenise(TOKENIZER, rows), 512)[0]


def training(work: Path, rows: Examples | None = None, model: str = "llama", **settings: Any) -> Training:
    config = Weights(**{"heads": 2, "precision": "fp32", "batch_size": 4, "epochs": 1, **settings})
    student = MODELS[model](len(TOKENIZER))
    embedding = student.get_input_embeddings()
    predictor, _ = build_predictor(student, TOKENIZER, config)
    return Training(rows or examples(), build_weighter(embedding, config), embedding, predictor, config, work)


def state(run: Training) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in {**run.fast, **run.slow}.items()}


def test_accumulated_parts_equal_one_large_batch(tmp_path: Path) -> None:
    whole, parts = (training(tmp_path / str(size), batch_tokens=size) for size in (100_000, 64))
    figures, same = whole.run(), parts.run()
    assert figures == pytest.approx(same, rel=1e-4)
    for (name, mine), theirs in zip(state(whole).items(), state(parts).values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("after", [2, 5])
def test_a_killed_training_goes_on_to_the_same_last_bit(tmp_path: Path, after: int) -> None:
    whole = trained(tmp_path / "whole")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=train_saving_each_step, args=(tmp_path / "killed", after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = trained(tmp_path / "killed")
    assert resumed.position.step == whole.position.step
    assert resumed.position.history == whole.position.history
    assert resumed.state == whole.state
    for (name, mine), theirs in zip(state(resumed).items(), state(whole).values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_a_checkpoint_of_other_settings_or_rows_is_not_taken_up(tmp_path: Path) -> None:
    training(tmp_path, checkpoint_seconds=1e-9).run()

    def restored(*rows: Examples, **settings: Any) -> int:
        return Engine(training(tmp_path, *rows, **settings), tmp_path, 60.0).position.step

    assert restored(alpha=0.9) == 0
    assert restored(examples(8)) == 0
    assert restored(batch_tokens=64) > 0  # speed may change
    [last] = tmp_path.glob("checkpoint-*")
    (last / "state.safetensors").write_bytes(b"half a file")
    assert restored() == 0


def test_the_weighter_stays_as_it_is_while_the_predictor_warms_up(tmp_path: Path) -> None:
    run = training(tmp_path, warmup=1, epochs=0)
    before = state(run)
    run.run()
    after = state(run)
    assert all(torch.equal(before[name], after[name]) for name in run.fast)
    assert any(not torch.equal(before[name], after[name]) for name in run.slow)
    assert run.position.epoch == 1


def test_curves_of_every_step_and_of_every_epoch(tmp_path: Path) -> None:
    told = TeacherReplies()
    with observe.observing(told):
        run = training(tmp_path, epochs=2, warmup=0, validation=0.2)
        run.run()
    each = [values for _, values in told.curves if "answer_loss" in values]
    assert len(each) == run.position.step
    for name in ("answer_loss", "mask_loss", "mean_weight", "keep_rate", "gradient"):
        assert all(math.isfinite(values[name]) for values in each), name
    assert all(values["gradient"] > 1e-6 for values in each)
    assert sum("validation_answer_loss" in values for _, values in told.curves) == 2


def test_it_stops_when_what_is_watched_gets_no_better(tmp_path: Path) -> None:
    # The rate is so small that nothing changes: the second epoch with a trained weighter is no better than the first.
    run = training(tmp_path, lr=1e-12, predictor_lr=0.0, epochs=9, warmup=1, validation=0.2)
    run.run()
    assert run.position.epoch < 10


def test_long_epochs_are_watched_and_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rationales: what is best in the middle of an epoch is kept, and what only gets worse is stopped there."""
    monkeypatch.setattr(train, "_VALIDATE_EVERY", 2)
    monkeypatch.setattr(train, "_PATIENCE", 3)
    run = training(tmp_path, examples(30), batch_size=1, warmup=0, epochs=1, validation=0.2, alpha=0.5)
    # L_p + 0.5 L_m: 4.25, 3.2, then no lower than 3.3, although L_p alone falls on.
    losses = iter([(4.0, 0.5), (3.0, 0.4), (2.9, 0.8), (2.9, 0.9), (3.5, 0.5)])
    monkeypatch.setattr(run, "validation_losses", lambda: next(losses))
    seen: dict[int, dict[str, torch.Tensor]] = {}
    after_step = run.after_step

    def remembered(position: Position, last_of_epoch: bool) -> None:
        seen[position.step] = {name: p.detach().clone() for name, p in run.fast.items()}
        after_step(position, last_of_epoch)

    monkeypatch.setattr(run, "after_step", remembered)
    run.run()
    assert run.position.step == 10  # validated at 2 4 6 8 10: the best is 4, and 6, 8 and 10 are no better
    assert all(torch.equal(p, seen[4][name]) for name, p in run.fast.items())
    assert any(not torch.equal(seen[4][name], seen[10][name]) for name in run.fast)


def test_a_loss_that_is_not_finite_stops_with_the_ids_of_its_rows(tmp_path: Path) -> None:
    run = training(tmp_path)
    with torch.no_grad():
        run.predictor.model.model.norm.weight.fill_(math.nan)
    with pytest.raises(ModelError, match=r"not finite in epoch 0 at q\d+/0.*predictor_lr") as caught:
        run.run()
    assert "\n" not in str(caught.value)


def test_a_one_token_rationale_trains(tmp_path: Path) -> None:
    rows, _ = usable(
        tokenise(TOKENIZER, [Rationale(f"q{i}", 0, "How many?", None, "7", "7", ((0, 1),)) for i in range(4)]), 512
    )
    assert math.isfinite(training(tmp_path, rows, validation=0.0).run()["answer_loss"])


def test_whole_questions_are_held_out() -> None:
    rows = examples(20, samples=2)
    training_rows, watched = held_out(rows, 0.2, None, 0)
    assert not {e.key[0] for e in training_rows} & {e.key[0] for e in watched}
    assert len(watched) == 8
    assert len(held_out(rows, 0.2, 5, 0)[0]) == 5
    reordered = held_out(rows.take(np.random.default_rng(0).permutation(40)), 0.2, None, 0)[1]
    assert {e.key for e in reordered} == {e.key for e in watched}


def test_batches_are_of_similar_length_and_another_order_each_epoch() -> None:
    rows = examples(40)
    lengths = np.array([row.tokens for row in rows])
    first, again, second = ([[rows[i] for i in b] for b in epoch_batches(lengths, 4, 0, epoch)] for epoch in (0, 0, 1))
    keys = [[e.key for e in batch] for batch in first]
    assert keys == [[e.key for e in batch] for batch in again]
    assert keys != [[e.key for e in batch] for batch in second]
    assert sorted(key for batch in keys for key in batch) == sorted(e.key for e in rows)
    padded = sum(len(b) * max(e.tokens for e in b) for b in first)
    assert padded < 1.1 * sum(e.tokens for e in rows)


def test_the_temperature_is_annealed_geometrically(tmp_path: Path) -> None:
    cooled, steady = training(tmp_path / "a", final_temperature=0.25), training(tmp_path / "b")
    assert [cooled.temperature(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.25])
    assert {steady.temperature(share) for share in (0.0, 0.5, 1.0)} == {1.0}


def test_it_can_be_trained_on_a_sample(tmp_path: Path) -> None:
    assert len(training(tmp_path, train_on=5, validation=0.0).training) == 5
