"""Which epoch a training run keeps: what was asked, which point wins, and what a kill changes (nothing)."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from configs import pipeline
from distill_tiny import STUDENTS, halving, llama, rows, tokenizer
from safetensors.torch import load_file
from test_distill_stage import CONFIG, inputs  # noqa: F401

from kpod import schemas
from kpod.config import Budget, Distill, Evaluate, Form, Lora, Validation
from kpod.distill.points import FILE, Point, best, read
from kpod.distill.stage import run
from kpod.distill.validation import Validator, questions_of
from kpod.errors import ConfigError, DataError
from kpod.evaluate.stage import run as evaluate
from kpod.methods.train import train
from kpod.store.files import write_text
from kpod.tokens import stage as tokens
from kpod.training import models

pytestmark = pytest.mark.usefixtures("checkpoint_every_step")

ASKED = [
    {"id": f"v{i}", "dataset": "d", "split": "validation", "question": f"What is {i}?", "answer": "7", "choices": None}
    for i in range(5)
]
SETTINGS = Validation(questions=4, max_new_tokens=12, batch_size=2)


def trained(work: Path, right: list[int], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, ...]:
    """A run whose answers are said to be right `right[epoch]` times; its weights, those after each epoch, the watch."""
    after: dict[int, dict[str, torch.Tensor]] = {}

    def told(validator: Validator, epoch: int) -> int:
        after[epoch] = {name: value.clone() for name, value in model.state_dict().items()}
        if right[epoch] < 0:
            raise KeyboardInterrupt
        return right[epoch]

    monkeypatch.setattr(Validator, "_right", told)
    model = llama()
    validator = Validator(ASKED, tokenizer(), SETTINGS)
    config = Distill(**{"budget": {"epochs": 4}, "batch_size": 8, "lr": 1e-2, "precision": "fp32", **settings})
    try:
        train(model, tokenizer(), rows(20), config, halving(rows(20)), work, validator)
    except KeyboardInterrupt:
        return after, validator, None
    return after, validator, model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("right", "chosen"), [([1, 3, 2, 0], 1), ([1, 3, 3, 2], 2), ([0, 0, 0, 0], 3)])
def test_the_epoch_with_most_right_answers_is_kept_of_equals_the_last(
    right: list[int], chosen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, validator, final = trained(tmp_path, right, monkeypatch)
    assert best(validator.points).epoch == chosen
    assert [point.right for point in validator.points] == right
    assert same(final, after[chosen])
    assert chosen == 3 or not same(final, after[3])
    assert len(list(tmp_path.rglob("epoch-*.safetensors"))) == 1


def test_a_run_that_is_cut_off_keeps_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole, expected = trained(tmp_path / "whole", [1, 3, 2, 3], monkeypatch)
    trained(tmp_path / "cut", [1, 3, -1, -1], monkeypatch)  # no checkpoint yet: it trains from the start again
    after, validator, final = trained(tmp_path / "cut", [-1, -1, 2, 3], monkeypatch)  # and asks about two epochs alone
    assert sorted(after) == [2, 3]
    assert validator.points == whole.points
    assert same(final, expected)


def test_another_run_in_the_same_folder_asks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, [3, 0, 0, 0], monkeypatch)
    after, validator, _ = trained(tmp_path, [0, 3, 0, 0], monkeypatch, lr=2e-2)
    assert sorted(after) == [0, 1, 2, 3]
    assert best(validator.points).epoch == 1


def test_the_adapter_of_the_best_epoch_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"adapter": Lora(rank=4), "budget": {"epochs": 2}}
    _, _, first = trained(tmp_path / "best", [3, 0], monkeypatch, **settings)
    _, _, last = trained(tmp_path / "last", [0, 3], monkeypatch, **settings)
    assert first.keys() == llama().state_dict().keys()
    assert not same(first, last)


def asked(*rows: dict[str, Any]) -> pa.Table:
    return schemas.table(list(rows), schemas.QUESTIONS)


def test_questions_are_chosen_by_id_from_the_sets_that_are_trained_on() -> None:
    trained_on = {**ASKED[0], "id": "t", "split": "train"}
    other = {**ASKED[0], "id": "o", "dataset": "other"}
    found = questions_of(asked(trained_on, other, *ASKED), 3)
    assert len(found) == 3
    assert {row["dataset"] for row in found} == {"d"}
    assert found == questions_of(asked(*reversed(ASKED), other, trained_on), 3)
    assert len(questions_of(asked(trained_on, *ASKED), 99)) == 5
    with pytest.raises(DataError, match=r"distill\.validation: no set"):
        questions_of(asked(trained_on, other), 3)


@pytest.fixture
def asking(inputs: dict[str, Path]) -> dict[str, Path]:  # noqa: F811
    """The stages before, with validation questions; the student writes no number, so that most count as wrong."""
    path = inputs["questions"] / "questions.parquet"
    table = schemas.read(path, schemas.QUESTIONS).to_pylist()
    alike = [{**row, "answer": "7"} for row in table]
    schemas.write(path, schemas.table([*alike, *ASKED], schemas.QUESTIONS))
    tokens.run(inputs, Form(), inputs["tokens"])
    return inputs


@pytest.mark.parametrize("processes", [1, 2])
def test_the_student_of_the_stage_is_the_one_that_was_asked(asking: dict[str, Path], processes: int) -> None:
    config = CONFIG.model_copy(
        update={"validation": SETTINGS.model_copy(update={"questions": 5}), "budget": Budget(epochs=80), "lr": 5e-3,
                "progressive": False, "processes": processes}
    )  # fmt: skip
    figures = run(asking, config, asking["out"])
    points = read(asking["out"] / FILE)
    assert [point.epoch for point in points] == list(range(80))
    assert {point.questions for point in points} == {5}
    kept = best(points)
    assert (figures["kept_epoch"], figures["kept_tokens"]) == (kept.epoch, kept.tokens)
    assert figures["validation_accuracy"] == kept.accuracy > points[0].accuracy  # it learns to end with its one answer

    again = Evaluate(splits=["validation"], max_new_tokens=12, batch_size=2, precision="fp32")
    judged = evaluate({"questions": asking["questions"], "student": asking["out"]}, again, asking["out"] / "asked")
    assert judged["accuracy"] == kept.accuracy
    model, _ = models.load(asking["out"] / "student")
    [weights] = (asking["out"] / "work").rglob("epoch-*.safetensors")
    assert same(load_file(weights), dict(model.named_parameters()))
    assert not [path for path in weights.parent.iterdir() if path.name not in (weights.name, FILE)]


@pytest.mark.parametrize("student", ["llama", "t5"])
def test_asking_leaves_no_trace_in_the_training(student: str, tmp_path: Path) -> None:
    settings = {"budget": {"epochs": 3}, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "dropout": 0.1}
    runs = []
    for validator in (None, Validator(ASKED, tokenizer(), SETTINGS)):
        model = STUDENTS[student]()
        own = model.generation_config.to_dict()
        work = tmp_path / str(len(runs))
        runs.append(
            train(model, tokenizer(), rows(20), Distill(**settings), halving(rows(20)), work, validator).history
        )
        assert model.generation_config.to_dict() == own
    assert runs[0] == runs[1]


def test_a_run_goes_on_at_its_checkpoint_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = {"checkpoint_seconds": 1e-9}
    _, whole, expected = trained(tmp_path / "whole", [1, 3, 2, 0], monkeypatch, **each)
    trained(tmp_path / "cut", [1, 3, -1, -1], monkeypatch, **each)
    after, validator, final = trained(tmp_path / "cut", [-1, -1, 2, 0], monkeypatch, **each)
    assert sorted(after) == [2, 3]
    assert validator.points == whole.points
    assert same(final, expected)


def test_a_kill_between_weights_and_points_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_text

    def killed(path: Path, text: str) -> None:
        if '"epoch": 2' in text:
            raise KeyboardInterrupt
        whole(path, text)

    monkeypatch.setattr("kpod.distill.validation.write_text", killed)
    trained(tmp_path, [1, 3, 4, 0], monkeypatch)
    monkeypatch.setattr("kpod.distill.validation.write_text", whole)
    (left,) = tmp_path.glob("validation-*")
    (left / ".epoch-9.safetensors.1.tmp").write_bytes(b"half")  # what a kill in the middle of writing leaves
    _, validator, _ = trained(tmp_path, [-1, -1, 2, 0], monkeypatch)  # another number of processes may answer otherwise
    assert best(validator.points).epoch == 1
    assert {path.name for path in left.iterdir()} == {"epoch-1.safetensors", FILE}


def test_weights_that_are_gone_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path, [1, 3, -1, -1], monkeypatch)
    next(tmp_path.rglob("epoch-1.safetensors")).unlink()
    after, _, final = trained(tmp_path, [1, 3, 2, 0], monkeypatch)
    assert sorted(after) == [0, 1, 2, 3]
    assert same(final, after[1])


def test_questions_too_long_for_the_student_count_as_wrong(tmp_path: Path) -> None:
    model = llama()
    model.config.max_position_embeddings = 200
    long = {**ASKED[0], "id": "long", "question": "xyz " * 100}
    config = Distill(budget=Budget(epochs=1), batch_size=8, precision="fp32")
    validator = Validator([*ASKED, long], tokenizer(), SETTINGS)
    train(model, tokenizer(), rows(4), config, halving(rows(4)), tmp_path, validator)
    assert [(point.questions, len(validator.questions)) for point in validator.points] == [(6, 5)]
    with pytest.raises(DataError, match=r"distill\.validation: no question leaves the student 12 tokens"):
        train(
            model,
            tokenizer(),
            rows(4),
            config,
            halving(rows(4)),
            tmp_path / "2",
            Validator([long], tokenizer(), SETTINGS),
        )


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read(tmp_path / FILE) == []
    assert best([Point(0, 9, 3, 5), Point(1, 18, 3, 5), Point(2, 27, 1, 5)]) == Point(1, 18, 3, 5)


def test_settings_that_would_choose_by_what_is_judged_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.splits must not hold validation"):
        pipeline({"distill": {"validation": {}}, "evaluate": {"splits": ["validation"]}})
    with pytest.raises(ConfigError, match=r"no set of questions\.sources has the splits train and validation"):
        pipeline({"distill": {"validation": {}}, "questions": {"sources": [{"kind": "wordproblems", "validation": 0}]}})
    hub = [
        {"kind": "hub", "dataset": name, "splits": [split]}
        for name, split in (("svamp", "train"), ("asdiv", "validation"))
    ]
    with pytest.raises(ConfigError, match=r"no set of questions\.sources has"):  # another set's do not count
        pipeline({"distill": {"validation": {}}, "questions": {"sources": hub}})
    assert pipeline({"distill": {"validation": {}}}).distill.validation == Validation()
