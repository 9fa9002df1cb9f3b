"""Memory counted tensor by tensor, the same on every device: what is kept for the backward pass."""

from collections.abc import Iterable

import torch

from kpod.estimate.trace import nbytes


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
