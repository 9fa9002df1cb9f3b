"""The trained weights of a student: all of them, or low-rank adapters that are merged afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from kpod.config import Distill, Lora
from kpod.training import models

if TYPE_CHECKING:
    from peft import PeftModel


@contextmanager
def trainable(model: PreTrainedModel, config: Distill, alone: Path | None = None) -> Iterator[None]:
    """Prepare `model` for training inside the block; afterwards it is a plain model in eval mode, adapters merged.

    Adapters are fp32 and are merged in fp32, because bf16 would round small changes away, and in main memory, because
    a GPU that trains in bf16 need not have room for all weights in fp32: afterwards the model is on the CPU. Before
    merging, the adapter is saved to the folder `alone`, if given. It is not merged into a quantised `model`, which
    would round it to 4 bits (see `merged`). During training the dropout of the model is `config.dropout`, or that of
    the objective.
    """
    dropout = set_dropout(model, config.objective.training_dropout(config.dropout))
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.requires_grad_(not config.quantised).train()  # integers have no gradient
    wrapped = None
    if isinstance(config.adapter, Lora):
        wrapped = lora(model, config.adapter.rank, config.adapter.alpha, config.adapter.dropout)
    try:
        yield
        if wrapped is not None and alone is not None:
            # Without the path of the base, which differs by machine: the bytes must not depend on it.
            wrapped.peft_config["default"].base_model_name_or_path = ""
            wrapped.save_pretrained(str(alone))
            (alone / "README.md").unlink(missing_ok=True)  # a template of a model card, with nothing filled in
    finally:
        if wrapped is not None and config.quantised:
            wrapped.unload()
        elif wrapped is not None:
            if not config.sharding:  # a sharded student is fp32 already
                wrapped.to(device="cpu", dtype=torch.float32)
            wrapped.merge_and_unload()
        if config.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        for module, name, value in dropout:
            setattr(module, name, value)
        model.requires_grad_(not config.quantised).eval()


def merged(base: Path, alone: Path) -> PreTrainedModel:
    """The model of the folder `base` in fp32, in main memory, with the adapter in the folder `alone` merged."""
    import peft

    model, _ = models.load(base, where=torch.device("cpu"))
    whole: PreTrainedModel = peft.PeftModel.from_pretrained(model, str(alone)).merge_and_unload()
    return whole


def lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float = 0.0) -> "PeftModel":
    """Freeze `model` and add fp32 adapters (Hu et al., 2021) to all its linear layers except the output layer.

    `model` itself is changed; the returned wrapper can merge the adapters.
    """
    import peft  # seconds to import, and full training does without

    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def set_dropout(model: PreTrainedModel, value: float) -> list[tuple[torch.nn.Module, str, float]]:
    """Set every dropout rate, of modules and of functional calls; returns (module, attribute, previous rate)."""
    rates = [
        (module, name, rate)
        for module in model.modules()
        for name, rate in vars(module).items()
        if isinstance(rate, float) and ("dropout" in name or (isinstance(module, torch.nn.Dropout) and name == "p"))
    ]
    for module, name, _ in rates:
        setattr(module, name, value)
    return rates
