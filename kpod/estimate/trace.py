"""Runs the real forward and backward passes on tensors without data, and counts bytes and operations.

Fake tensors have shapes, dtypes and lifetimes, so the counts are those of the real program, on any machine. The
attention kernel is torch's fused one, as with `attn_implementation: sdpa` on a GPU.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry


class Meter(TorchDispatchMode):
    """Inside the block, counts `live` and `peak`, the bytes of all live tensors now and at most, and `flop`.

    `known`: tensors that exist already. Works with real and with fake tensors.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = self.flop = 0
        self._met: set[int] = set()
        for tensor in known:
            self._meet(tensor)

    def _meet(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        name, size = storage._cdata, storage.nbytes()
        if name in self._met:
            return
        self._met.add(name)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._leave, name, size)

    def _leave(self, name: int, size: int) -> None:
        self._met.discard(name)
        self.live -= size

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        out = function(*arguments, **(options or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.flop += count(*arguments, **(options or {}), out_val=out)
        for value in tree_iter(out):
            if isinstance(value, torch.Tensor):
                self._meet(value)
        return out


def nbytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages of `tensors`, shared ones once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


@dataclass(frozen=True)
class Traced:
    """Bytes and operations of a traced run."""

    weights: int  # bytes of parameters and buffers
    trained: int  # bytes of the parameters that require a gradient, in fp32
    peak: int  # bytes at most, `weights` included
    flop: int  # floating point operations of the last call


def trace(model: nn.Module, once: Callable[[], None], times: int = 1) -> Traced:
    """Call `once`, which runs `model` on tensors that it creates itself, `times` times with fake tensors.

    `model` must be on the meta device and is unusable afterwards. The gradients of one call are kept for the next.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fake(model)
        held = [*model.parameters(), *model.buffers()]
        with Meter(held) as meter:
            for _ in range(times):
                meter.flop = 0
                once()
        trained = 4 * sum(value.numel() for value in model.parameters() if value.requires_grad)
        return Traced(nbytes(held), trained, meter.peak, meter.flop)


def _fake(model: nn.Module) -> None:
    """Replace the tensors of the meta device by fake ones of the CPU, which autocast supports."""
    replaced: dict[int, torch.Tensor] = {}  # so that tied ones stay tied

    def fake(value: torch.Tensor) -> Any:
        if id(value) not in replaced:
            new = torch.empty(value.shape, dtype=value.dtype)
            replaced[id(value)] = nn.Parameter(new, value.requires_grad) if isinstance(value, nn.Parameter) else new
        return replaced[id(value)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    held[name] = fake(value)
