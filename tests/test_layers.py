"""The layout holds: no import runs upward, no import is a circle, and `kpod` knows nothing of Prefect."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom to the top: a module may import its own layer and those in front of it.
LAYERS = (
    "kpod.errors",
    "kpod.observe",
    "kpod.display",
    "kpod.store.files",
    "kpod.schemas",
    "kpod.store",
    "kpod.text",
    "kpod.fields",
    "kpod.answers",
    "kpod.config",
    "kpod.tracking",
    "kpod.training",
    "kpod.methods",
    "kpod.questions",
    "kpod.teacher",
    "kpod.steps",
    "kpod.student",
    "kpod.tokens",
    "kpod.evaluate",
    "kpod.weighting",
    "kpod.difficulty",
    "kpod.curriculum",
    "kpod.distill",
    "kpod.estimate",
    "kpod.report",
    "kpod.run",
    "kpod.retrain",
    "kpod.models",
    "kpod.sweep",
    "kpod.cli",
)
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kpod").rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Every module of kpod that `module` imports, lazily or not; imports for type checkers alone do not count."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in FILES else node.module


def layer(module: str) -> int:
    """The layer with the longest name that `module` lies in."""
    found = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    assert found, f"{module} lies in no layer"
    return LAYERS.index(max(found, key=len))


@pytest.mark.parametrize("module", [name for name in FILES if name != "kpod"])
def test_no_import_runs_upward(module: str) -> None:
    upward = [name for name in imports(module) if name in FILES and name != "kpod" and layer(name) > layer(module)]
    assert not upward


def test_no_circle_of_imports() -> None:
    graph = {module: {name for name in imports(module) if name in FILES} - {module, "kpod"} for module in FILES}
    while free := [module for module, needs in graph.items() if not needs]:
        graph = {module: needs - set(free) for module, needs in graph.items() if module not in free}
    assert not graph


def test_kpod_never_imports_prefect_outside_the_command_line() -> None:
    for module in FILES:
        assert not any(name.split(".")[0] == "prefect" for name in imports(module)), module
        if not module.startswith("kpod.cli"):
            assert not any(name.split(".")[0] == "flows" for name in imports(module)), module


def test_each_folder_says_what_it_is() -> None:
    for path in (ROOT / "kpod").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
