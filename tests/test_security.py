"""Hostile input that no other test has: names that leave their folder, and model folders with code."""

import json
import pickle
import re
from pathlib import Path

import pytest
from configs import pipeline
from pydantic import ValidationError

from kpod.config import FolderStudent, Pipeline, QuestionFile
from kpod.config.flat import scrubbed
from kpod.errors import ConfigError, KpodError, ModelError
from kpod.student.check import check
from kpod.training import models


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()", "")


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "", ".hidden", "a\nb", "a b"])
def test_names_that_leave_their_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^name: "):
        pipeline({"name": name})
    file = tmp_path / "q.jsonl"
    with pytest.raises(ValidationError):
        QuestionFile(dataset=name, files={"train": file})


def test_a_model_folder_runs_no_code(tmp_path: Path) -> None:
    mark, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()
    own = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": own}))
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Config: ...\nclass Model: ...\n")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(KpodError, match="safetensors"):
        check(FolderStudent(path=folder))
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 1}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(folder)
    assert not mark.exists()


def test_settings_that_are_kept_beside_a_run_hold_no_password() -> None:
    config = pipeline({"teacher": {"extra_body": {"proxy": "http://user:hunter2@host:8000/v1"}}})
    kept = json.dumps(scrubbed(config.model_dump(mode="json")))
    assert "hunter2" not in kept
    assert Pipeline.model_validate(json.loads(kept)).teacher.extra_body == {"proxy": "http://***@host:8000/v1"}


def test_the_tests_that_the_table_of_threats_names_exist() -> None:
    root = Path(__file__).parent
    rows = [line for line in (root.parent / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 10
    for row in rows[1:]:
        cell = row.split("|")[3]
        named = re.findall(r"`(test_\w+\.py)?(?:::(\w+))?`", cell)
        assert named, row
        file = ""
        for given, function in named:
            file = given or file
            assert not function or f"def {function}(" in (root / file).read_text(), f"{file}::{function}"
