"""The processes that train one model together: this one alone, or those that torchrun started."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel


class Ranks:
    """Rank `rank` of `world`. Gradients are summed over the ranks by DistributedDataParallel (through accelerate)."""

    def __init__(self) -> None:
        # Schedulers set these variables too, for processes that are none of torchrun's.
        launched = torch.distributed.is_torchelastic_launched()
        self.world, self.rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK")) if launched else (1, 0)
        self._accelerator: Any = None
        if self.world > 1:
            from accelerate import Accelerator, DistributedDataParallelKwargs

            options = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
            self._accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[options])

    @property
    def writes(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0

    def wrap(self, model: PreTrainedModel) -> torch.nn.Module:
        """What is called instead of `model`, so that gradients meet; its weights are the same."""
        wrapped: torch.nn.Module = self._accelerator.prepare_model(model) if self._accelerator else model
        return wrapped

    def apart(self, wrapped: torch.nn.Module) -> AbstractContextManager[None]:
        """Inside, gradients of a micro-batch only add up locally: all but the last of an optimizer step."""
        context: AbstractContextManager[None] = (
            self._accelerator.no_sync(wrapped) if self._accelerator else nullcontext()
        )
        return context

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the ranks."""
        return self._accelerator.reduce(value, reduction="sum") if self._accelerator else value


@cache
def ranks() -> Ranks:
    """The ranks of this process, which joins them at the first call (and takes its GPU)."""
    return Ranks()
