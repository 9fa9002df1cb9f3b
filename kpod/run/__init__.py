"""The table of stages, how one is executed, and the results of finished runs. Imports the stages by name, and below.

The package can be called: `kpod.run(config)` is `kpod.run.library.run(config)`.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    # A package and a function cannot both be the attribute `run` of `kpod`: importing the package sets it.
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from kpod.run.library import run

        return run(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
