"""The output layer at the trained positions: their logits, or their losses without storing all logits."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from kpod.errors import ModelError
from kpod.training.batches import Batch
from kpod.training.loss import token_nll

Head = Callable[[torch.Tensor], torch.Tensor]  # hidden states [k, d] -> logits [k, V]
LOGITS = 2**25  # of one chunk: 128 MB in fp32, and as much for their gradient
FUSED_ON = "cuda"  # the device whose losses liger-kernel computes, where it is installed


def target_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Logits [n, V] at the trained positions; those of the prompt and of input steps are never computed.

    `model` is a language model, or DistributedDataParallel around one. The hidden states are selected before the output
    layer inside the model's own forward, so that whatever it does before and after that layer (scaling, soft caps)
    applies. Raises ModelError for a model whose forward does not use its output layer.
    """
    plain = _unwrapped(model)
    with _in_front_of_head(plain, batch.positions):
        logits: torch.Tensor = model(**batch.inputs, use_cache=False).logits
    if logits.shape[:-1] != batch.labels.shape:
        raise ModelError(f"{type(plain).__name__} does not use its output embeddings in the usual way: not supported")
    return logits


class TargetNll:
    """-log P of the trained tokens of a batch, float32 [n], without n x V logits in memory.

    The output layer computes losses in chunks of about LOGITS logits, which are recomputed for the gradient (a batch
    of one chunk keeps them); on CUDA liger-kernel does this where it is installed, see `fused`. This happens inside the
    model's own forward, so that wrappers (DDP, FSDP) are not affected. For a model that computes more after its output
    layer, which the first call detects, all logits are kept.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.last: bool | None = None  # whether the output layer is the last thing that the model computes

    def __call__(self, batch: Batch) -> torch.Tensor:
        if self.last is not False:
            with _in_front_of_head(_unwrapped(self.model), batch.positions, batch.labels) as computed:
                out: torch.Tensor = self.model(**batch.inputs, use_cache=False).logits
            if self.last is None:
                self.last = len(computed) == 1 and torch.equal(out.detach(), computed[0].detach())
            if self.last:
                return computed[0]
        return token_nll(target_logits(self.model, batch), batch.labels)


def fused(layer: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
    """Losses float32 [n] of liger-kernel; None on another device, for another output layer or if it is not installed.

    Chunks have the same size as in `_losses`; the kernel reads and writes each logit fewer times. Losses and, for any
    token weights, gradients equal those of `_losses` up to rounding. In bf16 the gradients differ by about 1% in norm:
    the gradient of the logits is rounded before it is multiplied, chunks are summed in fp32. cut-cross-entropy is not
    used: its release, 25.1.1, sums the gradient of the hidden states over the blocks of the vocabulary in bf16.
    """
    kind = hidden.device.type
    if kind != FUSED_ON or type(layer) is not torch.nn.Linear:
        return None
    function = _liger()
    if function is None:
        return None
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return function(
        hidden.to(dtype), layer.weight.to(dtype), labels, bias, reduction="none", accum_dtype=torch.float32,
        chunk_mem_const=max(1, LOGITS // hidden.numel()),
    )  # fmt: skip


@cache
def _liger() -> Callable[..., torch.Tensor] | None:
    """Liger's output layer with cross-entropy, if a usable release is installed.

    Older releases, which do not have `chunk_mem_const`, multiply all gradients by the first token's weight
    (linkedin/Liger-Kernel issue 968).
    """
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy
    except ImportError:
        return None
    known = inspect.signature(liger_fused_linear_cross_entropy).parameters
    return liger_fused_linear_cross_entropy if "chunk_mem_const" in known else None


def _losses(layer: Any, head: Head, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Losses float32 [n] for `hidden` [n, d] and `labels` [n]; `head` is the forward of the output `layer`."""

    def losses(part: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return token_nll(head(part), label)

    if (values := fused(layer, hidden, labels)) is not None:
        return values
    size = max(1, LOGITS // layer.weight.shape[0])
    if len(hidden) <= size:
        return losses(hidden, labels)
    return torch.cat(
        [
            checkpoint(losses, part, label, use_reentrant=False, preserve_rng_state=False)
            for part, label in zip(hidden.split(size), labels.split(size), strict=True)
        ]
    )


@contextmanager
def _in_front_of_head(
    model: Any, positions: torch.Tensor, labels: torch.Tensor | None = None
) -> Iterator[list[torch.Tensor]]:
    """Inside the block, the output layer sees only `positions`; with `labels` it returns losses, which are yielded."""
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output embeddings: it is not a language model")
    computed: list[torch.Tensor] = []
    own = head.forward

    def pick(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = arguments
        return hidden.flatten(0, -2).index_select(0, positions), *rest

    handle = head.register_forward_pre_hook(pick)
    if labels is not None:
        targets = labels

        def losses(hidden: torch.Tensor) -> torch.Tensor:
            computed.append(_losses(head, own, hidden, targets))
            return computed[-1]

        head.forward = losses
    try:
        yield computed
    finally:
        handle.remove()
        if labels is not None:
            del head.forward


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model
