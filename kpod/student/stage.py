"""Stage `base`: the student before distillation, as a plain model folder."""

from collections.abc import Mapping
from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kpod.config import FolderStudent, GgufStudent, HubStudent, ScratchStudent, Student
from kpod.store.network import hub_resolved_once
from kpod.student import gguf
from kpod.student.check import gguf_file, hub_config, not_from_hub
from kpod.training import models


def run(inputs: Mapping[str, Path], config: Student, out_dir: Path) -> dict[str, float]:
    """Write `student/` (config, safetensors in fp32, tokenizer) from scratch, a folder, the hub or a GGUF file.

    Raises ModelError if the model cannot be loaded, or only by running code that comes with it.
    """
    folder = out_dir / "student"
    figures: dict[str, float] = {}
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    match config:
        case ScratchStudent():
            from kpod.student.pretrain import pretrain

            model, tokenizer, figures = pretrain(config, out_dir / "work")
        case GgufStudent():
            model, tokenizer = gguf.load(gguf_file(config.package))
        case FolderStudent():
            model, tokenizer = models.load(config.path)
        case HubStudent():
            model, tokenizer = _from_hub(config)
    models.save(model, tokenizer, folder)
    return {"parameters": float(model.num_parameters()), **figures}


def _from_hub(config: HubStudent):  # type: ignore[no-untyped-def]  # the Auto classes' own types are not exported
    kind = AutoModelForSeq2SeqLM if hub_config(config).is_encoder_decoder else AutoModelForCausalLM
    try:
        with hub_resolved_once():
            model = kind.from_pretrained(config.name, dtype="float32", use_safetensors=True, revision=config.revision)
            return model, AutoTokenizer.from_pretrained(config.name, revision=config.revision)
    except (OSError, ValueError) as error:
        raise not_from_hub(config, error) from error
