"""One stage by itself: tables in, tables out, rows matched by key whatever their order."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from weighting_tiny import question, rationale, sums

import kpod
from kpod import schemas
from kpod.config import Difficulty, Steps
from kpod.config.variants import apply

TINY = Path(__file__).parent / "tiny.yaml"
QUESTIONS, RATIONALES = sums(8)


@pytest.fixture
def rationales() -> pa.Table:
    return schemas.table(RATIONALES, schemas.RATIONALES)


def shuffled(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.random.default_rng(0).permutation(len(table))))


def rows(table: pa.Table) -> list[dict]:
    names = [name for name in ("question_id", "sample", "stage", "step") if name in table.column_names]
    return sorted(table.to_pylist(), key=lambda row: [row[name] for name in names])


def test_steps_of_a_data_frame(rationales: pa.Table, tmp_path: Path) -> None:
    frame = rationales.to_pandas()
    frame["sample"] = frame["sample"].astype("int64")
    frame["mine"] = "more columns do no harm"
    made = kpod.stage("steps", Steps(rule="literal"), out=tmp_path / "out", rationales=frame.set_index("question_id"))
    steps = made.table("steps")
    assert made.folder == tmp_path / "out"
    assert made.figures["steps"] == len(steps)
    assert steps.schema.equals(schemas.STEPS)
    for row in RATIONALES:
        texts = [step["text"] for step in rows(steps) if step["question_id"] == row["question_id"]]
        assert texts == kpod.split(row["rationale"], "literal")
    with pytest.raises(kpod.KpodError, match="there is no table weights here, but steps"):
        made.table("weights")
    assert "PREFECT_HOME" not in os.environ  # the caller's own Prefect stays as it was


def test_a_stage_without_a_folder_writes_to_a_temporary_one(rationales: pa.Table, tmp_path: Path) -> None:
    config = kpod.load(TINY)
    one, two = (kpod.stage("steps", config, rationales=rationales) for _ in range(2))
    assert one.folder != two.folder
    assert one.table("steps").equals(two.table("steps"))
    assert not list(tmp_path.glob("kpod-home/*"))  # no cache, no tracking
    with pytest.raises(kpod.KpodError, match="is not empty"):
        kpod.stage("steps", config, out=one.folder, rationales=rationales)


def test_from_questions_to_answers_on_shuffled_tables(rationales: pa.Table) -> None:
    config = apply(kpod.load(TINY, **{"distill.budget": {"epochs": 2}, "distill.weight_floor": 0.0}), "kpod")
    asked = [*QUESTIONS, {**question("test", "Tom has 3 apples.", "3"), "split": "test"}]
    given = {"questions": schemas.table(asked, schemas.QUESTIONS), "rationales": rationales}
    given |= {"base": kpod.stage("base", config)}
    steps = kpod.stage("steps", config, **given).table("steps")
    tokens = kpod.stage("tokens", config, steps=steps, **given)
    mixed = {**given, "rationales": shuffled(rationales), "base": given["base"].folder / "student"}
    other = kpod.stage("tokens", config, steps=shuffled(steps), **mixed).table("tokens")
    assert rows(other) == rows(tokens.table("tokens"))

    weights = kpod.stage("weights", config, tokens=tokens.table("tokens").to_pandas(), **given).table("weights")
    assert weights.schema.equals(schemas.WEIGHTS)
    assert kpod.stage("weights", config, tokens=tokens, **given).table("weights").equals(weights)

    difficulty = kpod.stage("difficulty", config, tokens=tokens, weights=weights, **given).table("difficulty")
    assert {row["question_id"] for row in rows(difficulty)} == {row["id"] for row in QUESTIONS}
    again = kpod.stage("difficulty", config, tokens=shuffled(other), weights=shuffled(weights), **mixed)
    for one, two in zip(rows(difficulty), rows(again.table("difficulty")), strict=True):
        assert two == {**one, "difficulty": pytest.approx(one["difficulty"], rel=1e-4)}

    plan = kpod.stage("curriculum", config, tokens=tokens, difficulty=difficulty, **given).table("curriculum")
    assert b"stages" in plan.schema.metadata
    mixed_plan = kpod.stage("curriculum", config, tokens=other, difficulty=shuffled(difficulty), **mixed)
    assert rows(mixed_plan.table("curriculum")) == rows(plan)

    student = kpod.stage(
        "distill", config, steps=steps, tokens=tokens, weights=shuffled(weights), curriculum=shuffled(plan), **given
    )
    assert student.figures["examples"] == len(QUESTIONS)
    assert student.table("history")["difficulty"].null_count == 0  # the plan's metadata came along
    answers = kpod.stage("evaluate", config, student=student, **given).table("predictions")
    assert answers["question_id"].to_pylist() == ["test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="kept"), r"rationales: the column kept \(bool\) is missing"),
        (lambda frame: frame.assign(sample="first"), "rationales: the column sample has to be int32: .*'first'"),
        (lambda frame: frame.assign(sample=0.5), "rationales: the column sample has to be int32: .*0.5"),
        (lambda frame: frame.assign(rationale=None), "the column rationale has to be string: .* 8 nulls"),
        (lambda frame: frame.assign(model=[1, "a", {}, 2, 3, 4, 5, 6]), "rationales: cannot be read .*column model"),
        (lambda frame: frame.to_numpy(), "rationales: cannot be read as a table"),
        (lambda frame: "nowhere", "rationales: .*nowhere is no folder"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(change, message: str, rationales: pa.Table) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kpod.KpodError, match=message) as caught:
        kpod.stage("steps", Steps(), rationales=change(rationales.to_pandas()))
    assert "\n" not in str(caught.value)


def test_inputs_and_settings_of_another_stage_are_one_line(rationales: pa.Table) -> None:
    config = kpod.load(TINY)
    with pytest.raises(kpod.KpodError, match="no stage stepps; the stages are questions"):
        kpod.stage("stepps", config)
    with pytest.raises(kpod.KpodError, match="stage steps reads rationales: give rationales="):
        kpod.stage("steps", config)
    with pytest.raises(kpod.KpodError, match="stage difficulty reads base, tokens, weights: give tokens="):
        kpod.stage("difficulty", Difficulty(), base=TINY.parent)
    with pytest.raises(kpod.KpodError, match="stage steps: no stage writes rational; inputs are questions, "):
        kpod.stage("steps", config, rational=rationales)
    with pytest.raises(kpod.KpodError, match="stage steps: Difficulty is neither a Pipeline nor this stage's part"):
        kpod.stage("steps", Difficulty(), rationales=rationales)
    with pytest.raises(kpod.KpodError, match="base: give the folder of a model, not a Table"):
        kpod.stage("difficulty", Difficulty(weighting="uniform"), base=rationales, tokens=rationales)


def test_of_two_rows_with_one_key_the_second_is_set_aside() -> None:
    twice = schemas.table([*RATIONALES, rationale("q000", "Another text.")], schemas.RATIONALES)
    made = kpod.stage("steps", Steps(), rationales=twice)
    assert made.table("quarantine").to_pylist() == [
        {"source": "rationales", "row": "q000/0", "reason": "the key came before"}
    ]
