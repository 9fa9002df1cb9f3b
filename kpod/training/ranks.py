"""The few things that several ranks (torchrun, accelerate) need: who am I, sums, and one list from all."""

from collections.abc import Iterable
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch import distributed as dist


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside torchrun."""
    state = PartialState()
    return state.process_index, state.num_processes


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks, in place."""
    if rank_and_world()[1] > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def collect(rows: list[Any]) -> list[Any]:
    """The rows of all ranks, on every rank."""
    return gather_object(rows) if rank_and_world()[1] > 1 else rows


def wait() -> None:
    """Go on when every rank has come here."""
    PartialState().wait_for_everyone()


def device() -> torch.device:
    """The device of this rank."""
    return PartialState().device
