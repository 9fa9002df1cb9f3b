"""Objectives of the methods that KPOD is compared with, one file each: a file put here is a method that can be run."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from kpod.methods.base import OBJECTIVES, SETTINGS, Objective, Step, Told

if TYPE_CHECKING:
    from kpod.config import Distill

__all__ = ["SETTINGS", "Objective", "Step", "Told", "objective_of"]

for _found in pkgutil.iter_modules(__path__, f"{__name__}."):
    import_module(_found.name)


def objective_of(config: "Distill") -> type[Objective]:
    """The class behind `config.objective`."""
    return OBJECTIVES[config.objective.kind]
