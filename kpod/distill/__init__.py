"""Distillation of rationales into a student (paper, section 3.5, Eq. 15)."""

from importlib import import_module
from typing import Any

# Loaded on first use, because the command line reads the variants from this package and must not wait for torch; and
# by name, so that the trainer does not count as code of every stage that uses a module beside it.
_LATER = {"train": "kpod.methods.train", "weighted_nll": "kpod.training.loss"}

__all__ = ["train", "weighted_nll"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
