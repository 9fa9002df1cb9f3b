"""Which epoch a training run keeps: what was asked, which point wins, and what a kill changes (nothing)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from distill_tiny import halving, llama, rows, tokenizer
from safetensors.torch import load_file
from test_distill_stage import CONFIG, inputs  # noqa: F401

from kpod import models, schemas
from kpod.config import Distill, Evaluate, Lora, Pipeline, Validation
from kpod.distill.stage import run
from kpod.distill.trainer import train
from kpod.distill.validation import POINTS, Watch, questions_of
from kpod.errors import DataError
from kpod.evaluate.stage import run as evaluate

ASKED = [
    {"id": f"v{i}", "dataset": "d", "split": "validation", "question": f"What is {i}?", "answer": "7", "choices": None}
    for i in range(5)
]
SETTINGS = Validation(questions=4, max_new_tokens=12, batch_size=2)


def trained(work: Path, right: list[int], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, ...]:
    """A run whose answers are said to be right `right[epoch]` times; its weights, those after each epoch, the watch."""
    after: dict[int, dict[str, torch.Tensor]] = {}

    def told(watch: Watch, epoch: int) -> int:
        after[epoch] = {name: value.clone() for name, value in model.state_dict().items()}
        if right[epoch] < 0:
            raise KeyboardInterrupt
        return right[epoch]

    monkeypatch.setattr(Watch, "_right", told)
    model = llama()
    watch = Watch(ASKED, tokenizer(), SETTINGS)
    config = Distill(**{"epochs": 4, "batch_size": 8, "lr": 1e-2, "precision": "fp32", **settings})
    try:
        train(model, tokenizer(), rows(20), config, halving, work, watch)
    except KeyboardInterrupt:
        return after, watch, None
    return after, watch, model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("right", "best"), [([1, 3, 2, 0], 1), ([1, 3, 3, 2], 2), ([0, 0, 0, 0], 3)])
def test_the_epoch_with_most_right_answers_is_kept_of_equals_the_last(
    right: list[int], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, watch, final = trained(tmp_path, right, monkeypatch)
    assert watch.best["epoch"] == best
    assert [point["right"] for point in watch.points] == right
    assert same(final, after[best])
    assert best == 3 or not same(final, after[3])
    assert len(list(tmp_path.rglob("epoch-*.safetensors"))) == 1


def test_a_run_that_is_cut_off_keeps_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole, expected = trained(tmp_path / "whole", [1, 3, 2, 3], monkeypatch)
    trained(tmp_path / "cut", [1, 3, -1, -1], monkeypatch)  # no checkpoint yet: it trains from the start again
    after, watch, final = trained(tmp_path / "cut", [-1, -1, 2, 3], monkeypatch)  # and asks about two epochs alone
    assert sorted(after) == [2, 3]
    assert watch.points == whole.points
    assert same(final, expected)


def test_another_run_in_the_same_folder_asks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, [3, 0, 0, 0], monkeypatch)
    after, watch, _ = trained(tmp_path, [0, 3, 0, 0], monkeypatch, lr=2e-2)
    assert sorted(after) == [0, 1, 2, 3]
    assert watch.best["epoch"] == 1


def test_the_adapter_of_the_best_epoch_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"adapter": Lora(rank=4), "epochs": 2}
    _, _, first = trained(tmp_path / "best", [3, 0], monkeypatch, **settings)
    _, _, last = trained(tmp_path / "last", [0, 3], monkeypatch, **settings)
    assert first.keys() == llama().state_dict().keys()
    assert not same(first, last)


def test_questions_are_chosen_by_id_from_the_sets_that_are_trained_on() -> None:
    trained_on = {**ASKED[0], "id": "t", "split": "train"}
    other = {**ASKED[0], "id": "o", "dataset": "other"}
    found = questions_of([trained_on, other, *ASKED], 3)
    assert len(found) == 3
    assert {row["dataset"] for row in found} == {"d"}
    assert found == questions_of([*reversed(ASKED), other, trained_on], 3)
    assert len(questions_of([trained_on, *ASKED], 99)) == 5
    with pytest.raises(DataError, match=r"distill\.validation: no set"):
        questions_of([trained_on, other], 3)


@pytest.fixture
def asking(inputs: dict[str, Path]) -> dict[str, Path]:  # noqa: F811
    """The stages before, with validation questions; the student writes no number, so that most count as wrong."""
    path = inputs["questions"] / "questions.parquet"
    table = schemas.read(path, schemas.QUESTIONS).to_pylist()
    schemas.write(path, schemas.table([*table, *ASKED], schemas.QUESTIONS))
    return inputs


@pytest.mark.parametrize("processes", [1, 2])
def test_the_student_of_the_stage_is_the_one_that_was_asked(asking: dict[str, Path], processes: int) -> None:
    config = CONFIG.model_copy(
        update={"validation": SETTINGS.model_copy(update={"questions": 5}), "epochs": 40, "lr": 5e-3,
                "progressive": False, "processes": processes}
    )  # fmt: skip
    figures = run(asking, config, asking["out"])
    points = json.loads((asking["out"] / "validation.json").read_text())
    assert [point["epoch"] for point in points] == list(range(40))
    assert {point["questions"] for point in points} == {5}
    best = max(points, key=lambda point: (point["right"], point["epoch"]))
    assert (figures["kept_epoch"], figures["validation_right"]) == (best["epoch"], best["right"])
    assert points[0]["right"] < best["right"]  # it learns to end with "the answer is 7"

    again = Evaluate(splits=["validation"], max_new_tokens=12, batch_size=2, precision="fp32")
    judged = evaluate({"questions": asking["questions"], "student": asking["out"]}, again, asking["out"] / "asked")
    assert round(judged["accuracy"] * 5) == best["right"]
    model, _ = models.load(asking["out"] / "student")
    assert model.generation_config.max_length == llama().generation_config.max_length  # asking leaves no trace
    [kept] = (asking["out"] / "work").rglob("epoch-*.safetensors")
    assert same(load_file(kept), dict(model.named_parameters()))
    assert not [path for path in kept.parent.iterdir() if path.name not in (kept.name, POINTS)]


def test_settings_that_would_choose_by_what_is_judged_are_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.splits must not hold validation"):
        Pipeline(distill={"validation": {}}, evaluate={"splits": ["validation"]})
    with pytest.raises(ValueError, match=r"needs questions of the split validation"):
        Pipeline(distill={"validation": {}}, questions={"sources": [{"kind": "wordproblems", "validation": 0}]})
    with pytest.raises(ValueError, match=r"distill\.sharding has split"):
        Distill(validation=Validation(), sharding=True)
    assert Pipeline(distill={"validation": {}}).distill.validation == Validation()
