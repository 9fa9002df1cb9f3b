"""How long a student is trained: turns of rationales, budgets in target tokens, and where training ends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from distill_tiny import halving, llama, rows, tokenizer

from kpod.config import Budget, Curriculum, Distill
from kpod.curriculum import Schedule, plan
from kpod.curriculum.items import Items
from kpod.curriculum.spend import fewest_stages, target_tokens
from kpod.methods import objective_of
from kpod.methods.train import train
from kpod.text.groups import Keys
from kpod.training.examples import Example
from kpod.training.task import Position
from kpod.training.turns import Turns, allowed

pytestmark = pytest.mark.usefixtures("checkpoint_every_step")

SAMPLES = (3, 1, 2)  # of each question


def several() -> list[Example]:
    keys = [(f"q{question}", sample) for question, count in enumerate(SAMPLES) for sample in range(count)]
    return [replace(row, key=key) for row, key in zip(rows(len(keys)), keys, strict=True)]


def run(work: Path, examples: list[Example], steps: Any = None, **settings: Any) -> Position:
    config = Distill(**{"batch_size": 2, "lr": 1e-2, "precision": "fp32", **settings})
    return train(llama(), tokenizer(), examples, config, steps, work)


def test_every_rationale_of_a_question_has_its_turn() -> None:
    turns = Turns([row.key[0] for row in several()])
    assert [turns.rows(epoch).tolist() for epoch in range(4)] == [[0, 3, 4], [1, 3, 5], [2, 3, 4], [0, 3, 5]]
    shuffled = Turns(["b", "a", "b"])
    assert [shuffled.rows(epoch).tolist() for epoch in range(3)] == [[0, 1], [2, 1], [0, 1]]


def test_what_a_budget_allows_does_not_grow_with_the_number_of_rationales() -> None:
    examples = several()
    turns, tokens = Turns([row.key[0] for row in examples]), np.array([len(row.target) for row in examples])
    expected = sum(tokens[[0, 3, 4]]) + sum(tokens[[1, 3, 5]])
    assert allowed(Budget(of="scotd", epochs=2), tokens, turns) == expected
    assert allowed(Budget(target_tokens=77), tokens, turns) == 77
    assert allowed(Budget(epochs=2), tokens, turns) == 0
    assert Budget(of="scotd").epochs == 4


def test_plain_distillation_spends_exactly_its_epochs(tmp_path: Path) -> None:
    counted = run(tmp_path / "tokens", several(), budget=Budget(of="scotd", epochs=3))
    epochs = run(tmp_path / "epochs", several(), budget=Budget(epochs=3))
    assert counted.done == epochs.done
    assert [row["loss"] for row in counted.history] == pytest.approx([row["loss"] for row in epochs.history], rel=0.05)
    assert (counted.epoch, epochs.epoch) == (3, 3)


@pytest.mark.parametrize("objective", ["eq15", "acl", "icl", "spl", "mcc-kd"])
def test_every_method_ends_within_a_batch_of_the_budget(objective: str, tmp_path: Path) -> None:
    examples, limit = several(), 150
    largest = max(len(row.target) for row in examples)
    config = {"objective": {"kind": objective}, "token_weights": False, "progressive": False}
    ended = run(tmp_path, examples, budget=Budget(target_tokens=limit), **config)
    assert limit <= ended.done < limit + 2 * largest
    assert ended.history[-2]["tokens"] < limit
    assert ended.done == ended.history[-1]["tokens"]


def test_a_curriculum_gets_more_epochs_for_the_same_tokens(tmp_path: Path) -> None:
    examples = rows(12)
    plain = run(tmp_path / "plain", examples, budget=Budget(of="scotd", epochs=3))
    staged = run(tmp_path / "staged", examples, halving(examples), budget=Budget(of="scotd", epochs=3))
    assert plain.done <= staged.done < plain.done + 2 * max(len(row.target) for row in examples)
    assert staged.epoch > plain.epoch == 3


def test_the_rate_follows_the_share_of_the_budget(tmp_path: Path) -> None:
    ended = run(tmp_path, rows(12), budget=Budget(of="scotd", epochs=4), lr=1.0, warmup=0.25, max_grad_norm=1e-9)
    before = 0
    for row in ended.history:
        start, end = before / ended.done, row["tokens"] / ended.done
        expected = min(1.0, end / 0.25) if start < 0.25 else (1 - start) / 0.75
        assert row["lr"] == pytest.approx(expected)
        before = row["tokens"]


def test_a_run_killed_in_its_last_epoch_ends_where_it_would_have(tmp_path: Path) -> None:
    settings = {"budget": Budget(target_tokens=200), "checkpoint_seconds": 1e-9}
    whole = run(tmp_path / "whole", several(), **settings)
    [last] = (tmp_path / "whole").glob("checkpoint-*")
    assert run(tmp_path / "whole", several(), **settings).history == whole.history
    assert last.name == f"checkpoint-{whole.step}"


@pytest.mark.parametrize("T", [0.25, 0.8])
def test_a_schedule_has_as_few_stages_as_spend_the_budget(T: float) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 40)
    names, sample = [f"q{i // 2}" for i in range(40)], np.arange(40, dtype=np.int32) % 2
    difficulties = [rng.gamma(2, 0.5, size) for size in sizes]
    tokens, answers = [rng.integers(3, 20, size) for size in sizes], np.full(40, 7)
    keys = Keys(pa.array(names), pa.array(sample))
    items = Items(keys, sizes, np.concatenate(difficulties), np.concatenate(tokens))
    turns = Turns(names)
    whole = np.array([int(one.sum()) for one in tokens]) + answers
    limit = allowed(Budget(of="scotd", epochs=6), whole, turns)

    def make(stages: int) -> Schedule:
        return plan(difficulties, np.zeros(40, int), Curriculum(epochs=stages, T=T))

    found = fewest_stages(make, limit, items, answers)
    slow = 0
    for stage, given in enumerate(found.input_steps):
        for question in range(20):
            row = 2 * question + stage % 2
            slow += int(tokens[row][given[row] :].sum()) + 7
    assert target_tokens(found, items, answers, turns) == slow >= limit
    fewer = make(len(found.input_steps) - 1)
    assert target_tokens(fewer, items, answers, turns) < limit
    assert len(found.input_steps) > 6


def test_the_first_samples_alone_are_kept() -> None:
    keys = Keys(pa.array(["a", "a", "a", "b", "c", "c"]), pa.array([0, 2, 5, 1, 0, 1]))
    values = np.arange(9.0)
    items = Items(keys, np.array([1, 2, 1, 2, 1, 2]), values, values.astype(int))
    few = items.first(2)
    assert few.question_id.to_pylist() == ["a", "a", "b", "c", "c"]
    assert few.keys.sample.tolist() == [0, 2, 1, 0, 1]
    assert few.difficulty.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert few.sums().tolist() == [0, 3, 9, 6, 15]


def test_an_epoch_behind_the_last_stage_is_like_it() -> None:
    examples = rows(3)
    objective = objective_of(Distill())(examples, np.array([[2, 2, 2], [1, 0, 1]]), Distill())
    assert objective.input_tokens(1).tolist() == objective.input_tokens(7).tolist() == [1, 0, 1]
