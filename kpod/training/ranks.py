"""The ranks of a distributed run, started by torchrun or `accelerate launch`; a single one otherwise.

accelerate sets up the process group (backend, device, machines); the collectives are those of torch.distributed.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

TIMEOUT = timedelta(hours=2)  # for the others to wait, while rank 0 saves or merges a large student


class Ranks:
    """This process as rank `rank` of `world`."""

    def __init__(self) -> None:
        self.rank, self.world = 0, 1
        # Schedulers set RANK and WORLD_SIZE too, for processes that torchrun did not start.
        if dist.is_torchelastic_launched():
            from accelerate import PartialState

            state = PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)
            self.rank, self.world = state.process_index, state.num_processes

    @property
    def writes(self) -> bool:
        """Whether this is rank 0, which writes files and reports."""
        return self.rank == 0

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the ranks, in place; returns `value`."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def first(self, value: Any) -> Any:
        """The value that rank 0 passed, which must be picklable."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def collect(self, rows: list[Any]) -> list[Any]:
        """The rows of all ranks in the order of the ranks, on every rank; they must be picklable."""
        if self.world == 1:
            return rows
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, rows)
        return [row for part in parts for row in part]

    def wait(self) -> None:
        """Barrier: return when every rank has called this."""
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
    """Inside the block, gradients are only accumulated locally: for all but the last micro-batch of a step.

    Sharded models always synchronise, because whole gradients would need the memory that sharding saves.
    """
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


@cache
def ranks() -> Ranks:
    """The ranks of this process, which joins the process group at the first call and selects its GPU."""
    return Ranks()
