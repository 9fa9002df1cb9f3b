"""Sharded tensors on disk, by torch.distributed.checkpoint: each rank writes its own, any number of ranks reads all."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed as dist
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader


def write(tensors: Mapping[str, torch.Tensor], folder: Path) -> Future[Any]:
    """Copy the tensors to main memory and write them in the background; on all ranks together."""
    # The background's collectives have a group of their own, so that they never meet those of the training.
    return cast(Future[Any], dcp.async_save(dict(tensors), checkpoint_id=folder, process_group=_background()))


def read(folder: Path, like: Callable[[str], torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of `folder`, each sharded as `like(name)` is, and scalars whole; on all ranks together."""
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    tensors = {name: like(name) if getattr(about, "size", ()) else torch.zeros(()) for name, about in stored.items()}
    dcp.load(tensors, checkpoint_id=folder)
    return tensors


@cache
def _background() -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
