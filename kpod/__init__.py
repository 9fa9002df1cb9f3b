"""KPOD: keypoint-based progressive chain-of-thought distillation (Feng et al., ICML 2024).

The public names, each imported when it is first used:

- `load(source, **settings)`: the checked settings of a recipe or a YAML file
- `run(config, until=None, refresh=(), quiet=False)`: a pipeline in this process; returns a `Run` with its tables
- `stage(name, config, out=None, **inputs)`: one stage on DataFrames or Arrow tables; returns a `StageResult`
- `split(text)`: a rationale's steps
- `extract_answer(text, choices=None)`, `answers_equal(a, b)`: what a text states as its answer, and whether two agree
- `KpodError`: the base of all errors that a user can act on
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpod.errors import KpodError
    from kpod.evaluate import answers_equal, extract_answer
    from kpod.run.library import Run, load, run
    from kpod.run.single import StageResult, stage
    from kpod.steps import split

__version__ = "0.1.0"
__all__ = ["KpodError", "Run", "StageResult", "answers_equal", "extract_answer", "load", "run", "split", "stage"]

_HOMES = {
    "KpodError": "kpod.errors",
    "Run": "kpod.run.library",
    "StageResult": "kpod.run.single",
    "answers_equal": "kpod.evaluate",
    "extract_answer": "kpod.evaluate",
    "load": "kpod.run.library",
    "split": "kpod.steps",
    "stage": "kpod.run.single",
}


def __getattr__(name: str) -> Any:
    if name == "run":  # a package that can be called
        return import_module("kpod.run")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
