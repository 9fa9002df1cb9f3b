"""Checks of packages and devices that single settings need, before money or time is spent."""

from importlib.util import find_spec

from kpod.config import Pipeline
from kpod.errors import ConfigError
from kpod.fields import Attention

_FLASH = {
    "flash_attention_2": ("flash_attn", "flash-attn"),
    "flash_attention_3": ("flash_attn_interface", "flash-attn-3"),
}


def check(config: Pipeline) -> None:
    """Raise ConfigError that names the setting if it needs a package or a device that is missing."""
    for name, stage in (("distill", config.distill), ("evaluate", config.evaluate)):
        check_attention(stage.attn_implementation, f"{name}.")
    if config.distill.quantised:
        check_quantize("distill.adapter.")
    if config.evaluate.backend == "vllm":
        check_vllm("evaluate.")
    for name in ("weights", "difficulty", "distill", "evaluate"):
        check_processes(getattr(config, name).processes, f"{name}.")


def check_attention(chosen: Attention, stage: str = "") -> None:
    """Raise ConfigError if the attention kernel needs a missing package or device; `stage` prefixes the key.

    Without this check, transformers would download a compiled kernel in place of a missing package.
    """
    if chosen in ("sdpa", "eager"):
        return
    module, package = _FLASH.get(chosen, ("torch", "torch"))
    if find_spec(module) is None:
        raise ConfigError(f"{stage}attn_implementation: {chosen} needs the package {package}; install it, or take sdpa")
    if not cuda():
        raise ConfigError(f"{stage}attn_implementation: {chosen} needs a CUDA device, and torch sees none: take sdpa")


def check_quantize(stage: str = "") -> None:
    """Raise ConfigError if this machine cannot train on a base in 4 bits; `stage` prefixes the key."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(f"{stage}quantize: needs the package bitsandbytes: pip install 'kpod[qlora]'")
    if not cuda():
        raise ConfigError(f"{stage}quantize: needs a CUDA device, and torch sees none: leave it out")


def check_vllm(stage: str = "") -> None:
    """Raise ConfigError if vLLM cannot run on this machine; `stage` prefixes the key."""
    if find_spec("vllm") is None:
        raise ConfigError(f"{stage}backend: vllm is not installed: pip install 'kpod[vllm]', or take transformers")
    if not cuda():
        raise ConfigError(f"{stage}backend: vllm needs a CUDA device, and torch sees none: take transformers")


def check_processes(count: int, stage: str = "") -> None:
    """Raise ConfigError if this machine has GPUs, but fewer than `count` processes need; `stage` prefixes the key."""
    if count == 1:  # the usual case, without the import
        return
    import torch

    found = torch.cuda.device_count()
    if 0 < found < count:
        raise ConfigError(f"{stage}processes: {count} need a GPU each, and torch sees {found}: set it to {found}")


def cuda() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()
