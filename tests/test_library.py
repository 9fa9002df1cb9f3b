"""The pipeline as a library: public names, lazily imported, and a run without Prefect."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kpod
from kpod.run.chain import planned

TINY = Path(__file__).parent / "tiny.yaml"


def test_public_names_are_there_and_documented() -> None:
    for name in kpod.__all__:
        assert name in dir(kpod)
        assert getattr(kpod, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kpod.nothing  # noqa: B018
    assert kpod.split("Two. Three.") == ["Two.", " Three."]
    assert kpod.extract_answer("Therefore, the answer is 7.") == "7"
    assert kpod.answers_equal("7", "7.0")
    assert (Path(kpod.__file__).parent / "py.typed").is_file()


def test_importing_kpod_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import kpod; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"kpod.run", "pyarrow", "pydantic", "torch"} & set(ast.literal_eval(done.stdout))


def test_load_takes_dotted_keys_and_refuses_unknown_ones() -> None:
    assert kpod.load(TINY, **{"distill.lr": 1e-4}).distill.lr == 1e-4
    with pytest.raises(kpod.KpodError, match=r"distill\.rate: unknown key"):
        kpod.load(TINY, **{"distill.rate": 1})


def test_a_run_gives_its_tables_and_is_cached(kpod_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = kpod.load(TINY, **{"methods": ["kpod"]})
    run = kpod.run(config, until="steps")
    assert [f"{stage} ({method})" for stage, method in planned(config, "steps")] == run.computed
    assert run.computed == ["questions (kpod)", "rationales (kpod)", "steps (kpod)"]
    steps, rationales = run.table("steps").to_pylist(), run.table("rationales").to_pylist()
    for row in rationales:
        texts = [step["text"] for step in steps if step["question_id"] == row["question_id"]]
        assert not row["kept"] or "".join(texts) == row["rationale"]
    assert "rationales  kpod" in capsys.readouterr().out
    with pytest.raises(kpod.KpodError, match="this run has no weights"):
        run.table("weights")
    assert "PREFECT_HOME" not in os.environ  # that of the caller's own flows stays where it was
    again = kpod.run(config, until="steps", quiet=True)
    assert again.computed == []
    assert again.folder("steps") == run.folder("steps")
    assert capsys.readouterr().out == ""
    with pytest.raises(kpod.KpodError, match="no stage stepps"):
        kpod.run(config, until="stepps")
