"""The version of the code that a stage runs: a hash over its module and every `kpod` module that it imports.

The imports are read from the compiled sources, lazy ones inside functions included, so no list has to be kept by
hand and nothing heavy is imported to find out. Templates and styles that lie in a package's folder count as its code.
A module that is imported by a string does not count.
"""

import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[1]  # the package's folder
TEMPLATES = (".html", ".css")


@cache
def code_version(module: str) -> str:
    """Hex sha256 over the sources of `module` and of all `kpod` modules reachable from it by imports."""
    return _digest(modules(module))


def source_of(module: str) -> str | None:
    """Hex sha256 over the source of a module outside this package and the modules that it imports of its own package.

    Nothing is imported. None if neither the current folder nor the path has its source: not installed, or compiled.
    """
    package = module.partition(".")[0]
    spec = PathFinder.find_spec(package, [str(Path.cwd()), *sys.path])  # as the process that calls it looks for it
    files: dict[str, Path] = {}
    if spec and spec.submodule_search_locations is not None:  # several folders if it has no __init__.py
        for folder in spec.submodule_search_locations:
            files |= modules(module, Path(folder))
    elif spec and spec.origin and spec.origin.endswith(".py"):
        files = {package: Path(spec.origin)}
    return _digest(files) if module in files else None


def modules(module: str, root: Path = ROOT) -> dict[str, Path]:
    """Name and file of `module` and of every module of the package at `root` that importing it can run.

    A template is listed as `<package>/<file>`.
    """
    files: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = _file(name, root)
        if path is None or name in files:
            continue
        files[name] = path
        if path.name == "__init__.py":
            files.update({f"{name}/{data.name}": data for data in path.parent.iterdir() if data.suffix in TEMPLATES})
        parent = name.rpartition(".")[0]
        queue.extend([parent] if parent else [])  # importing a.b.c runs a and a.b first
        if name != root.name:  # what the package itself imports is for its users
            queue.extend(_imports(name, path))
    return files


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _file(name: str, root: Path) -> Path | None:
    package, *parts = name.split(".")
    if package != root.name:
        return None
    base = root.joinpath(*parts)
    candidates = [base / "__init__.py", base.with_suffix(".py")] if parts else [base / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def _imports(name: str, path: Path) -> list[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _imported(package, path.read_text(encoding="utf-8"))


@cache  # the stages share most of their modules
def _imported(package: str, source: str) -> list[str]:
    # Bytecode, no syntax tree: CPython before 3.11.8 fails when two threads build trees at once (gh-106905).
    code = compile(source, package, "exec", dont_inherit=True)
    names: list[str] = []
    for level, base, imported in _import_statements(code):
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            base = ".".join([*above, base] if base else above)
        names += [base, *(f"{base}.{submodule}" for submodule in imported)]  # a name may be a submodule
    return names


def _code_blocks(code: CodeType) -> Iterator[CodeType]:
    """`code`, and that of the functions and classes that it holds."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _code_blocks(inner)


def _import_statements(code: CodeType) -> Iterator[tuple[int, str, Sequence[str]]]:
    """(level, module, names) of each import statement."""
    for block in _code_blocks(code):
        values: list[Any] = []
        for instruction in dis.get_instructions(block):
            if instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
                values.append(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                yield values[-2], instruction.argval, values[-1] or ()
