"""Distillation of rationales into a student (paper, section 3.5, Eq. 15)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpod.distill.loss import weighted_nll
    from kpod.distill.trainer import train

__all__ = ["train", "weighted_nll"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line reads the variants from this package and must not wait for torch.
    if name == "weighted_nll":
        from kpod.distill.loss import weighted_nll

        return weighted_nll
    if name == "train":
        from kpod.distill.trainer import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
