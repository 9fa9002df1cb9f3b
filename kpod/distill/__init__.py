"""Stage `distill`: distillation into a student (paper, section 3.5, Eq. 15). Imports methods, evaluate and below."""

from importlib import import_module
from typing import Any

# Imported on first use, so that importing the package does not import torch; and by name, so that the trainer is not
# part of the code version of every stage that uses another module of the package.
_LATER = {"train": "kpod.methods.train", "weighted_nll": "kpod.training.loss"}

__all__ = ["train", "weighted_nll"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
