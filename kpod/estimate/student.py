"""The config of a recipe's student, from the hub, a folder, a GGUF file or the settings, without its weights."""

from pathlib import Path

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from kpod.config import FolderStudent, GgufStudent, ScratchStudent, Student
from kpod.student.check import check, gguf_file, hub_config
from kpod.student.pretrain import VOCABULARY
from kpod.student.pretrain import shape as scratch
from kpod.training.models import of_config


def config_of(student: Student) -> PretrainedConfig:
    """The model's config. Raises ConfigError or ModelError if it cannot be loaded."""
    check(student)
    match student:
        case ScratchStudent():
            return scratch(student, VOCABULARY, 0, 0)
        case GgufStudent():
            file = gguf_file(student.package)
            return AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        case FolderStudent():
            return folder_config(student.path)
    return hub_config(student)


def folder_config(folder: Path) -> PretrainedConfig:
    """The config in a model folder. Raises OSError if there is none."""
    return AutoConfig.from_pretrained(folder, local_files_only=True)


class Shape:
    """A callable that builds the model of a config on the meta device, a new one each time."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __call__(self, dtype: torch.dtype) -> PreTrainedModel:
        return of_config(self.config, dtype)
