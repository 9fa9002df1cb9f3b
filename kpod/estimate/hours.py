"""Hours on one GPU from operations and bytes, at the usual shares of its peak."""

from dataclasses import dataclass

import torch

BUSY = 0.4  # share of the peak that training reaches with blocks of ordinary PyTorch
READ = 0.5  # share of the memory's bandwidth that decoding reaches
LAUNCH = 6e-4  # seconds a layer and token that the built-in generator needs to start its kernels


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet."""

    bf16: float  # dense TFLOP/s
    fp32: float  # TFLOP/s
    bandwidth: float  # GB/s
    memory: float  # GB


GPUS = {
    "a100": Gpu(312, 19.5, 2039, 80),
    "h100": Gpu(989, 67, 3350, 80),
    "h200": Gpu(989, 67, 4800, 141),
    "l4": Gpu(121, 30, 300, 24),
    "rtx4090": Gpu(165, 83, 1008, 24),
}


def computing(flop: float, gpu: Gpu, dtype: torch.dtype, processes: int = 1) -> float:
    """Hours of `flop` floating point operations of training or scoring, split over `processes` GPUs."""
    peak = gpu.bf16 if dtype is torch.bfloat16 else gpu.fp32
    return flop / (peak * 1e12 * BUSY * processes) / 3600


def decoding(tokens: float, layers: int, read: float, gpu: Gpu) -> float:
    """Hours of `tokens` decoding steps of a batch; each reads `read` bytes of weights and cache."""
    return tokens * (layers * LAUNCH + read / (gpu.bandwidth * 1e9 * READ)) / 3600
