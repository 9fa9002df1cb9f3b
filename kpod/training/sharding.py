"""A model whose weights, gradients and optimizer state are split over the ranks (FSDP2)."""

import copy

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from kpod.training.ranks import Ranks


def shard(model: PreTrainedModel, ranks: Ranks) -> PreTrainedModel:
    """A copy of `model` whose weights are split; `model` waits in main memory until `gather` brings them back."""
    device = next(model.parameters()).device
    split = copy.deepcopy(model)
    _move(model, "cpu")
    mesh = init_device_mesh(device.type, (ranks.world,))
    for block in blocks(split):
        fully_shard(block, mesh=mesh)
    fully_shard(split, mesh=mesh)
    return split


def gather(split: torch.nn.Module, model: PreTrainedModel) -> None:
    """Bring the weights of a sharded copy back to `model`; on all ranks together."""
    device = next(split.parameters()).device
    trained = dict(split.named_parameters())
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(full_tensor(trained[name]))
    _move(model, device)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether `shard` made the model."""
    return isinstance(model, FSDPModule)


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The repeated layers of a transformer, as transformers names those that must stay on one device."""
    names = getattr(model, "_no_split_modules", None) or ()
    return [module for module in model.modules() if type(module).__name__ in names]


def full_tensor(value: torch.Tensor) -> torch.Tensor:
    """The tensor, gathered if it is sharded (then all ranks must call this)."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def distribute_like(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `other`, and sharded as `other` is."""
    if isinstance(other, DTensor):
        return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
    return value.to(other.device)


def _move(model: torch.nn.Module, device: torch.device | str) -> None:
    model.to(device)
