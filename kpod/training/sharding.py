"""A model whose weights, gradients and optimizer state are split over the ranks (FSDP2)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from kpod.fields import Precision
from kpod.training import models
from kpod.training.ranks import Ranks


def shard(model: PreTrainedModel, ranks: Ranks, precision: Precision) -> PreTrainedModel:
    """A copy of `model` on the ranks' devices with sharded weights (FSDP2), computing in `precision`.

    `model` is in main memory on rank 0, on the meta device on the others, and stays there. The copy is filled block by
    block from rank 0, so that a device holds at most its shards and one whole block.
    """
    device, dtype = models.device(), models.compute_dtype(precision)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    mesh = init_device_mesh(device.type, (ranks.world,))
    source = dict(model.named_parameters())
    meta = {id(value): _parameter(torch.empty_like(value, device="meta"), value) for value in source.values()}
    split = copy.deepcopy(model, memo=meta)  # weights that are tied stay tied
    names = {id(value): name for name, value in split.named_parameters()}
    for unit in (*blocks(split), split):
        for value in [parameter for parameter in unit.parameters() if parameter.is_meta]:
            filled = _parameter(_from_first(source[names[id(value)]], device, ranks), value)
            torch.utils.swap_tensors(value, filled)
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    for module, original in zip(split.modules(), model.modules(), strict=True):
        for name, buffer in original._buffers.items():
            if buffer is not None:
                module._buffers[name] = _from_first(buffer, device, ranks)
    return split


def gather(split: torch.nn.Module, model: PreTrainedModel) -> None:
    """Copy the weights of a sharded copy back into rank 0's `model`; all ranks call this together."""
    trained = dict(split.named_parameters())
    with torch.no_grad():
        for name, value in model.named_parameters():
            whole = full_tensor(trained[name])
            if not value.is_meta:
                value.copy_(whole)


@contextmanager
def unsharded(model: torch.nn.Module) -> Iterator[None]:
    """Inside the block, each rank has all weights, so that it can call the model alone; no effect on a plain model."""
    inner = [module for module in model.modules() if isinstance(module, FSDPModule) and module is not model]
    units = [*inner, model] if isinstance(model, FSDPModule) else inner
    for unit in inner:
        unit.set_reshard_after_forward(False, recurse=False)
    for unit in units:
        unit.unshard()
    try:
        yield
    finally:
        for unit in inner:
            unit.set_reshard_after_forward(True, recurse=False)
        for unit in units:
            unit.reshard()


def is_sharded(value: torch.Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is sharded over the ranks."""
    return isinstance(value, DTensor)


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The transformer blocks of a model (`_no_split_modules` of transformers)."""
    names = getattr(model, "_no_split_modules", None) or ()
    return [module for module in model.modules() if type(module).__name__ in names]


def full_tensor(value: torch.Tensor) -> torch.Tensor:
    """The whole tensor; gathered if it is sharded, in which case all ranks must call this."""
    return value.full_tensor() if is_sharded(value) else value


def distribute_like(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `other`, and sharded like it."""
    if is_sharded(other) and not is_sharded(value):
        return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
    return value.to(other.device)


def _parameter(value: torch.Tensor, like: torch.nn.Parameter) -> torch.nn.Parameter:
    return torch.nn.Parameter(value, requires_grad=like.requires_grad)


def _from_first(value: torch.Tensor, device: torch.device, ranks: Ranks) -> torch.Tensor:
    """Rank 0's `value`, on the device of each rank."""
    whole = (
        value.detach().to(device, copy=True).contiguous() if ranks.writes else torch.empty_like(value, device=device)
    )
    dist.broadcast(whole, src=0)
    return whole
