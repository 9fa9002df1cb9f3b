"""The processes that train one model together: this one alone, or those that torchrun started."""

import copy
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel


class Ranks:
    """Rank `rank` of `world`; the processes meet through accelerate."""

    def __init__(self) -> None:
        # Schedulers set these variables too, for processes that are none of torchrun's.
        launched = torch.distributed.is_torchelastic_launched()
        self.world, self.rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK")) if launched else (1, 0)
        self._accelerator: Any = None
        if self.world > 1:
            from accelerate import Accelerator, DistributedDataParallelKwargs

            options = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
            # Mixed precision is the passes' own, whatever a config file of accelerate says.
            self._accelerator = Accelerator(
                cpu=not torch.cuda.is_available(), mixed_precision="no", kwargs_handlers=[options]
            )

    @property
    def writes(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0

    def wrap(self, model: PreTrainedModel, sharding: bool = False) -> torch.nn.Module:
        """What is called instead of `model`, so that gradients meet.

        DistributedDataParallel around `model`; or, with `sharding`, a copy of it whose weights are split over the
        ranks (FSDP), while `model` waits in main memory until `gather` brings the weights back.
        """
        if self._accelerator is None:
            return model
        if not sharding:
            wrapped: torch.nn.Module = self._accelerator.prepare_model(model)
            return wrapped
        device = next(model.parameters()).device
        split = copy.deepcopy(model)
        _move(model, "cpu")
        mesh = init_device_mesh(device.type, (self.world,))
        for block in blocks(split):
            fully_shard(block, mesh=mesh)
        fully_shard(split, mesh=mesh)
        return split

    def gather(self, wrapped: torch.nn.Module, model: PreTrainedModel) -> None:
        """Bring the weights of a sharded copy back to `model`; on all ranks together."""
        if not isinstance(wrapped, FSDPModule):
            return
        device = next(wrapped.parameters()).device
        trained = dict(wrapped.named_parameters())
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(whole(trained[name]))
        _move(model, device)

    def apart(self, wrapped: torch.nn.Module) -> AbstractContextManager[None]:
        """Inside, gradients of a micro-batch only add up locally: all but the last of an optimizer step."""
        # Shards of gradients are summed at once: whole ones would need the memory that sharding is there to save.
        if self._accelerator is None or isinstance(wrapped, FSDPModule):
            return nullcontext()
        context: AbstractContextManager[None] = self._accelerator.no_sync(wrapped)
        return context

    def agreed(self, decision: bool) -> bool:
        """What the first rank decided."""
        if self._accelerator is None:
            return decision
        told = torch.tensor(float(decision and self.rank == 0), device=self._accelerator.device)
        return bool(self.total(told) > 0)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the ranks."""
        return self._accelerator.reduce(value, reduction="sum") if self._accelerator else value


def _move(model: torch.nn.Module, device: torch.device | str) -> None:
    model.to(device)


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The repeated layers of a transformer, as transformers names those that must stay on one device."""
    names = getattr(model, "_no_split_modules", None) or ()
    return [module for module in model.modules() if type(module).__name__ in names]


def whole(value: torch.Tensor) -> torch.Tensor:
    """The tensor, gathered if the ranks hold parts of it (then all of them must ask)."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `other`, and split over the ranks as `other` is."""
    if isinstance(other, DTensor):
        return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
    return value.to(other.device)


@cache
def ranks() -> Ranks:
    """The ranks of this process, which joins them at the first call (and takes its GPU)."""
    return Ranks()
