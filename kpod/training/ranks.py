"""The processes that work together: this one alone, or those that torchrun or `accelerate launch` started.

accelerate joins them (backend, device, several machines); the collectives are those of torch.distributed.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel


class Ranks:
    """Rank `rank` of `world`, with a device of its own."""

    def __init__(self) -> None:
        self.rank, self.world = 0, 1
        # Schedulers set RANK and WORLD_SIZE too, for processes that torchrun did not start.
        if dist.is_torchelastic_launched():
            from accelerate import PartialState

            state = PartialState(cpu=not torch.cuda.is_available())
            self.rank, self.world = state.process_index, state.num_processes

    @property
    def writes(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the ranks, in place; returns `value`."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def first(self, value: Any) -> Any:
        """What the first rank passed; a value that can be pickled."""
        if self.world == 1:
            return value
        found = [value]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def collect(self, rows: list[Any]) -> list[Any]:
        """The rows of all ranks, on every rank."""
        if self.world == 1:
            return rows
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, rows)
        return [row for part in found for row in part]

    def wait(self) -> None:
        """Return when every rank has called this."""
        if self.world > 1:
            dist.barrier()

    def replicate(self, model: torch.nn.Module) -> torch.nn.Module:
        """`model` as DistributedDataParallel, whose backward pass averages gradients over the ranks."""
        if self.world == 1:
            return model
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def no_sync(wrapped: torch.nn.Module) -> AbstractContextManager[Any]:
    """Inside, gradients of a micro-batch are only added locally: for all but the last of an optimizer step.

    Sharded models synchronise at once: whole gradients would need the memory that sharding saves.
    """
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


@cache
def ranks() -> Ranks:
    """The ranks of this process, which joins them at the first call (and takes its GPU)."""
    return Ranks()
