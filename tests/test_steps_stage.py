"""Stage `steps`: kept rationales in, steps out, nothing lost without a reason."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kpod import schemas
from kpod.config import Steps
from kpod.errors import DataError
from kpod.steps import stage as steps


def rationale(question: str, sample: int, text: str, kept: bool = True) -> dict[str, Any]:
    return {
        "question_id": question,
        "sample": sample,
        "rationale": text,
        "answer": "1",
        "correct": kept,
        "kept": kept,
        "drop_reason": None if kept else "wrong answer",
        "model": "m",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "cost_usd": None,
    }


def run(folder: Path, rows: list[dict[str, Any]], rule: str = "default") -> tuple[dict[str, float], Path]:
    source, out = folder / "rationales", folder / "out"
    source.mkdir()
    out.mkdir()
    schemas.write(source / "rationales.parquet", schemas.table(rows, schemas.RATIONALES))
    return steps.run({"rationales": source}, Steps(rule=rule), out), out  # type: ignore[arg-type]


def test_only_kept_rationales_in_the_order_of_questions(tmp_path: Path) -> None:
    rows = [
        rationale("b", 1, "One. Two."),
        rationale("a", 0, "Three 3.5."),
        rationale("b", 0, "Four.\nFive."),
        rationale("c", 0, "Six.", kept=False),
    ]
    metrics, out = run(tmp_path, rows)
    found = schemas.read(out / "steps.parquet", schemas.STEPS).to_pylist()
    assert [(row["question_id"], row["sample"], row["step"], row["text"]) for row in found] == [
        ("b", 0, 0, "Four."),
        ("b", 0, 1, "\nFive."),
        ("b", 1, 0, "One."),
        ("b", 1, 1, " Two."),
        ("a", 0, 0, "Three 3.5."),
    ]
    assert [(row["char_start"], row["char_end"]) for row in found[:2]] == [(0, 5), (5, 11)]
    assert metrics == {
        "rationales": 3,
        "steps": 5,
        "steps_mean": 5 / 3,
        "steps_max": 2,
        "single_step_share": 1 / 3,
        "quarantined": 0,
    }
    assert not (out / "quarantine.parquet").exists()


def test_spans_give_the_text_back(tmp_path: Path) -> None:
    text = "Ä 1. é?\n他有。三个! 😀 So 4."
    _, out = run(tmp_path, [rationale("q", 0, text)])
    for row in schemas.read(out / "steps.parquet", schemas.STEPS).to_pylist():
        assert text[row["char_start"] : row["char_end"]] == row["text"]


def test_empty_and_repeated_rationales_are_set_aside(tmp_path: Path) -> None:
    rows = [rationale("a", 0, " \n"), rationale("b", 0, "One."), rationale("b", 0, "Two."), rationale("c", 0, "")]
    metrics, out = run(tmp_path, rows)
    assert metrics["rationales"] == 1
    assert metrics["quarantined"] == 3
    found = {row["row"]: row["reason"] for row in pq.read_table(out / "quarantine.parquet").to_pylist()}
    assert found == {"a/0": "the rationale is empty", "b/0": "the key came before", "c/0": "the rationale is empty"}


def test_the_literal_rule_is_a_setting(tmp_path: Path) -> None:
    metrics, _ = run(tmp_path, [rationale("a", 0, "It costs 3.50.\nDone.")], rule="literal")
    assert metrics["steps"] == 3


def test_no_step_at_all_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drop_reason") as error:
        run(tmp_path, [rationale("a", 0, "One.", kept=False)])
    assert "\n" not in str(error.value)
