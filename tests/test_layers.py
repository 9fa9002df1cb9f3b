"""The layout holds: no import runs upward or in a circle, `kpod` knows nothing of Prefect, everything is documented."""

import ast
from collections import defaultdict
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


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node: ast.Module | ast.ClassDef) -> list[Definition]:
    """Functions and classes directly inside `node` whose names have no underscore in front."""
    return [child for child in node.body if isinstance(child, Definition) and not child.name.startswith("_")]


def test_every_public_function_class_and_method_has_a_docstring() -> None:
    """A method may have that of a base class, which is found by name."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}
    classes = defaultdict(list)
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(node)

    def documented(owner: ast.ClassDef, name: str) -> bool:
        if any(method.name == name and ast.get_docstring(method) for method in public(owner)):
            return True
        bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases]
        return any(documented(base, name) for names in bases for base in classes[names] if base is not owner)

    missing = []
    for module, tree in trees.items():
        for node in public(tree):
            if not ast.get_docstring(node):
                missing.append(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef):
                missing += [f"{module}.{node.name}.{m.name}" for m in public(node) if not documented(node, m.name)]
    assert missing == []
