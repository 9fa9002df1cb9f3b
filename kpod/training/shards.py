"""Sharded tensors on disk, by torch.distributed.checkpoint; any number of ranks can read them."""

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
    """Copy the tensors to main memory and write them in the background; all ranks call this together."""
    # The collectives in the background have their own process group, so that they do not mix with the training's.
    return cast(Future[Any], dcp.async_save(dict(tensors), checkpoint_id=folder, process_group=_background()))


def read(folder: Path, like: Callable[[str], torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors in `folder`, each sharded like `like(name)`, scalars whole; all ranks call this together."""
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    tensors = {name: like(name) if getattr(about, "size", ()) else torch.zeros(()) for name, about in stored.items()}
    dcp.load(tensors, checkpoint_id=folder)
    return tensors


@cache
def _background() -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
