"""The base student: from scratch, with numbers as tokens, or refused in one line."""

import json
from pathlib import Path

import pytest
from test_weighting_train import TeacherReplies
from transformers import AutoModelForCausalLM, AutoTokenizer

from kpod import observe
from kpod.config import Family, FolderStudent, HubStudent, ScratchStudent
from kpod.errors import ModelError
from kpod.questions.arithmetic import COMPUTE, LARGEST
from kpod.questions.wordproblems import easy, sums
from kpod.store.model_folder import missing_part
from kpod.student import stage
from kpod.student.pretrain import SUMS, build_tokenizer, drills

TINY = ScratchStudent(layers=1, hidden=16, heads=2, problems=40, drills=4, batch_size=8)


def test_a_number_is_one_token_with_the_space_before_it() -> None:
    tokenizer = build_tokenizer(easy(50, 0) + drills(5, 0))
    text = " Tom has 7 + 35 = 42 apples. Therefore, the answer is 42."
    tokens = tokenizer.tokenize(text)
    assert [token for token in tokens if any(c.isdigit() for c in token)] == ["Ġ7", "Ġ35", "Ġ42", "Ġ42"]
    assert "Ġ" not in tokens
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for number in range(100):
        assert len(tokenizer.tokenize(f" {number}")) == 1


@pytest.mark.parametrize(("family", "operations"), [("stories", set("+-x")), ("mixed", set(COMPUTE))])
def test_sums_are_right_stay_small_and_practise_every_operation(family: Family, operations: set[str]) -> None:
    seen = set()
    for equation in sums(2000, 1, family):
        left, op, right, _, result = equation.split()
        assert COMPUTE[op](int(left), int(right)) == int(result)
        assert 1 <= int(result) <= LARGEST
        seen.add(op)
    assert seen == operations
    assert sums(10, seed=1) == sums(2000, seed=1)[:10] != sums(10, seed=2)


def test_a_row_of_drills_ends_with_the_result_of_its_last_sum() -> None:
    rows = drills(3, seed=0)
    assert len(rows) == 3
    for _, rationale, answer in rows:
        assert rationale.count("=") == SUMS
        assert rationale.endswith(f"= {answer}.")


def test_a_student_from_scratch_is_a_plain_folder_and_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        figures = stage.run({}, TINY, tmp_path / name)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a" / "student")
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    assert model.config.eos_token_id == tokenizer.eos_token_id
    weights = [(tmp_path / name / "student" / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_pretraining_lowers_the_loss(tmp_path: Path) -> None:
    longer = TINY.model_copy(update={"problems": 200, "hidden": 32})
    told = TeacherReplies()
    with observe.observing(told):
        short, long = (stage.run({}, longer.model_copy(update={"epochs": n}), tmp_path) for n in (1, 4))
    assert long["pretraining_loss"] < short["pretraining_loss"] - 0.2
    assert told.bars == ["base: pretraining"]


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ((), "config"),
        (("config.json",), "weights (only *.safetensors are loaded)"),
        (("config.json", "pytorch_model.bin", "tokenizer.json"), "weights (only *.safetensors are loaded)"),
        (("config.json", "model.safetensors"), "tokenizer"),
        (("config.json", "model.safetensors", "tokenizer.json"), None),
    ],
)
def test_what_a_model_folder_lacks(tmp_path: Path, files: tuple[str, ...], missing: str | None) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    assert missing_part(tmp_path) == missing


def test_a_model_that_wants_to_run_its_own_code_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for student in (FolderStudent(path=tmp_path), HubStudent(name=str(tmp_path))):
        with pytest.raises(ModelError):
            stage.run({}, student, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
