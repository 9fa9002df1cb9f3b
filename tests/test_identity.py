"""A stage's key changes with everything that decides its result, and with nothing else."""

import ast
from pathlib import Path

import pytest
from configs import pipeline, scripted

from kpod.config import Evaluate, ReplayEndpoint
from kpod.run import stages
from kpod.store import code_version
from kpod.store.artifacts import ArtifactRef
from kpod.store.keys import identity, stage_key


def test_operational_settings_do_not_count() -> None:
    slow, fast = scripted(concurrency=1, timeout_s=9), scripted(concurrency=64, timeout_s=1)
    assert identity(slow) == identity(fast)
    assert identity(scripted(temperature=0.1)) != identity(scripted(temperature=0.2))


def test_an_input_file_counts_by_content_not_by_path(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for path, text in zip(paths, ("x", "x", "y"), strict=True):
        path.write_text(text)
    a, b, c = (identity(ReplayEndpoint(rationales=path, questions=[path])) for path in paths)
    assert a == b
    assert a != c


def test_every_part_of_the_key_counts() -> None:
    config = pipeline().distill
    key = stage_key("distill", config, {"steps": "aa"}, "code")
    assert key == stage_key("distill", config, {"steps": "aa"}, "code")
    assert key != stage_key("evaluate", config, {"steps": "aa"}, "code")
    assert key != stage_key("distill", config.model_copy(update={"lr": 1.0}), {"steps": "aa"}, "code")
    assert key != stage_key("distill", config, {"steps": "bb"}, "code")
    assert key != stage_key("distill", config, {"steps": "aa"}, "code2")


def test_the_key_follows_the_bytes_of_inputs_not_the_run_that_made_them() -> None:
    def ref(run: str, sha: str) -> ArtifactRef:
        return ArtifactRef(stage="rationales", key="k", run_id=run, uri=f"runs:/{run}/output", sha256=sha)

    steps = stages.STAGES["steps"]
    first = stages.key_of(steps, pipeline(), {"rationales": ref("1", "x")})
    assert stages.key_of(steps, pipeline(), {"rationales": ref("2", "x")}) == first
    assert stages.key_of(steps, pipeline(), {"rationales": ref("1", "y")}) != first


def _package(root: Path) -> Path:
    package = root / "kpod"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "stage.py").write_text("from kpod.deep import helper\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "helper.py").write_text("def f():\n    from ..leaf import g\n    return g()\n")
    (package / "leaf.py").write_text("import os\ndef g(): return 1\n")
    (package / "other.py").write_text("x = 1\n")
    return package


def test_the_code_version_covers_lazy_and_relative_imports_at_any_depth(tmp_path: Path) -> None:
    found = code_version.modules("kpod.stage", _package(tmp_path))
    assert set(found) == {"kpod", "kpod.stage", "kpod.deep", "kpod.deep.helper", "kpod.leaf"}


def test_imports_are_those_of_the_syntax_trees() -> None:
    for path in code_version.ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(code_version.ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        told = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        told |= {
            f"{node.module}.{one.name}" for node in nodes if isinstance(node, ast.ImportFrom) for one in node.names
        }
        assert told <= set(code_version._imports(name, path)), name


def test_templates_beside_the_code_count_as_code(tmp_path: Path) -> None:
    package = _package(tmp_path)
    for name in ("page.html", "style.css", "notes.txt"):
        (package / "deep" / name).write_text("")
    found = code_version.modules("kpod.stage", package)
    assert set(found) >= {"kpod.deep/page.html", "kpod.deep/style.css"}
    assert "kpod.deep/notes.txt" not in found
    assert "kpod.deep/page.html" not in code_version.modules("kpod.leaf", package)
    assert "kpod.report/report.html" in code_version.modules("kpod.report.stage")


def test_the_looks_of_a_report_never_make_an_evaluation_stale() -> None:
    assert not any(name.startswith("kpod.report") for name in code_version.modules("kpod.evaluate.stage"))


def test_every_stage_module_exists_and_sees_its_own_room() -> None:
    for stage in stages.STAGES.values():
        found = code_version.modules(stage.module)
        assert stage.module in found
        assert "kpod.schemas" in found or stage.name == "base"
        assert not any(name.startswith("kpod.tracking") for name in found), "a stage must not depend on tracking"


def test_trainer_code_changes_the_student_but_not_the_teacher() -> None:
    assert "kpod.methods.train" in code_version.modules("kpod.distill.stage")
    assert "kpod.methods.train" not in code_version.modules("kpod.teacher.stage")


@pytest.mark.parametrize("init", [True, False], ids=["with __init__.py", "without"])
@pytest.mark.parametrize("found", ["on the path", "in the current folder"])
def test_the_source_of_a_users_verifier_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, init: bool
) -> None:
    package = tmp_path / "their_checks"
    package.mkdir()
    if init:
        (package / "__init__.py").write_text("raise RuntimeError('nothing is imported to find out')\n")
    (package / "units.py").write_text("from their_checks import helper\ndef same(question, completion, gold): ...\n")
    (package / "helper.py").write_text("LIMIT = 1\n")
    (tmp_path / "alone.py").write_text("def same(question, completion, gold): ...\n")
    if found == "on the path":
        monkeypatch.syspath_prepend(str(tmp_path))
    else:
        monkeypatch.chdir(tmp_path)

    def keys() -> list[str]:
        functions = ("their_checks.units:same", "alone:same", "nowhere.to_be:found")
        settings = [Evaluate.model_validate({"verifier": {"kind": "python", "function": name}}) for name in functions]
        return [stage_key("evaluate", one, {}, "code") for one in settings]

    before = keys()
    assert keys() == before
    assert len(set(before)) == 3
    (package / "helper.py").write_text("LIMIT = 2\n")
    changed = keys()
    assert [old != new for old, new in zip(before, changed, strict=True)] == [True, False, False]
    (tmp_path / "alone.py").write_text("def same(question, completion, gold): return True\n")
    assert [old != new for old, new in zip(changed, keys(), strict=True)] == [False, True, False]
