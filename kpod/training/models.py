"""Loading and saving of students: plain Hugging Face folders with safetensors and a tokenizer."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kpod.errors import ModelError
from kpod.fields import Attention, Precision
from kpod.store.model_folder import missing_part
from kpod.training.examples import Positions
from kpod.training.extras import check_attention, check_quantize


def device() -> torch.device:
    """The current CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: Precision) -> torch.dtype:
    """bf16 for `bf16`, or for `auto` if the machine computes in it natively; else fp32."""
    if precision == "auto":
        # A CPU without these units emulates bf16 many times slower than it computes in fp32.
        cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else cpu
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(precision: Precision) -> AbstractContextManager[None]:
    """Autocast for training: the weights stay fp32, matrix products are computed in `compute_dtype(precision)`."""
    dtype = compute_dtype(precision)
    return torch.autocast(device().type, dtype=dtype, enabled=dtype is torch.bfloat16)


def load(
    folder: Path,
    precision: Precision = "fp32",
    attention: Attention = "sdpa",
    quantize: bool = False,
    where: torch.device | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a student in `compute_dtype(precision)` onto `where` or `device()`, in eval mode, without downloads.

    On the meta device no weights are read. With `quantize` the weights of all linear layers except the output layer are
    NF4 (Dettmers et al., 2023). The padding token falls back to EOS, also if it has no row in the embedding. Raises
    ModelError if the folder lacks a config, safetensors or a tokenizer, needs its own code, or is of an architecture
    without the `attention` kernel; ConfigError if a package or device for that kernel or `quantize` is missing.
    """
    check_attention(attention)
    more = _nf4(precision) if quantize else {}
    if missing := missing_part(folder):
        raise ModelError(f"{folder} is not a complete model folder: no {missing}")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        kernel = None if attention == "sdpa" else attention  # None: sdpa, or eager where it is lacking
        how = {"dtype": compute_dtype(precision), "attn_implementation": kernel}
        if where is not None and where.type == "meta":
            with where:
                model = kind.from_config(config, **how)
            if model.can_generate() and (folder / "generation_config.json").exists():
                model.generation_config = GenerationConfig.from_pretrained(folder)
        else:
            model = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, **how, **more)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded as a model: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no end-of-sequence token, so no output would ever stop")
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.eos_token_id >= rows:
        raise ModelError(
            f"{folder}: the end-of-sequence token has the id {tokenizer.eos_token_id}, the model embeds {rows} tokens:"
            " resize its embedding to the tokenizer and save it again"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:  # padding is masked: any valid id will do
        tokenizer.pad_token = tokenizer.eos_token
    return (model if quantize else model.to(where or device())).eval(), tokenizer


def _nf4(precision: Precision) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a base in 4 bits, which is quantised on its device while it is read."""
    check_quantize()
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(precision),
    )
    return {"quantization_config": settings, "device_map": {"": device()}}


def empty(folder: Path) -> PreTrainedModel:
    """The model of a folder on the meta device, without weights. Raises OSError if it has no config."""
    return of_config(AutoConfig.from_pretrained(folder, local_files_only=True))


def of_config(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model of a config on the meta device."""
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = kind.from_config(config, dtype=dtype)
    return model


def input_embedding(folder: Path) -> torch.Tensor:
    """The input embedding [V, d] of the model in `folder`; no other tensor is read. Raises ModelError if missing."""
    model = empty(folder)
    layer = model.get_input_embeddings()
    own = next(f"{name}.weight" for name, module in model.named_modules() if module is layer)
    # A file may hold a tied weight under another of its names, and leaves the prefix out if it is of the bare model.
    tied = (name for name, value in model.named_parameters(remove_duplicate=False) if value is layer.weight)
    prefix = f"{model.base_model_prefix}."
    names = list(dict.fromkeys(form for name in (own, *tied) for form in (name, name.removeprefix(prefix))))
    files = sorted(folder.glob("*.safetensors"))
    for name in names:
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                if name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                    return torch.as_tensor(tensors.get_tensor(name))
    raise ModelError(f"{folder} holds no input embedding ({', '.join(names)}): rerun the stage base")


def positions(model: torch.nn.Module) -> Positions | None:
    """The number of positions of a model; None if it has no such limit."""
    config: PretrainedConfig = model.config  # type: ignore[assignment]
    count = getattr(config, "max_position_embeddings", None)
    return Positions(count, bool(config.is_encoder_decoder)) if isinstance(count, int) and count > 0 else None


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model folder in Hugging Face layout: config, safetensors, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
