"""Memory counted tensor by tensor, the same on every device: what is kept for the backward pass, and the peak."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def nbytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages of some tensors, shared ones once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Inside, collects every tensor that autograd saves for the backward pass, but those of `known`."""

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        self.tensors: list[torch.Tensor] = []
        own = {t.untyped_storage().data_ptr() for t in known}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                self.tensors.append(tensor.detach())
            return tensor

        super().__init__(pack, lambda tensor: tensor)

    def like(self, weights: Iterable[torch.Tensor]) -> int:
        """Bytes of those that are copies of weights: their shape, or its transpose."""
        shapes = {tuple(w.shape) for w in weights if w.dim() == 2}
        shapes |= {shape[::-1] for shape in shapes}
        return nbytes(t for t in self.tensors if tuple(t.shape) in shapes)


class Peak(TorchDispatchMode):
    """Inside, `bytes` is the most that live tensors have held at once, those made before included if told of."""

    def __init__(self, before: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live, self.bytes = 0, 0
        self._known: set[int] = set()
        for tensor in before:
            self._meet(tensor)

    def _meet(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        name, size = storage._cdata, storage.nbytes()
        if name in self._known:
            return
        self._known.add(name)
        self.live += size
        self.bytes = max(self.bytes, self.live)
        weakref.finalize(storage, self._leave, name, size)

    def _leave(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.live -= size

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        out = function(*arguments, **(options or {}))
        for value in tree_iter(out):
            if isinstance(value, torch.Tensor):
                self._meet(value)
        return out
