"""What a model folder in Hugging Face layout must hold."""

from pathlib import Path

# What a model folder must hold, and the names under which it may.
PARTS = {
    "config": ("config.json",),
    "weights (only *.safetensors are loaded)": ("*.safetensors",),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "spiece.model"),
}


def missing_part(folder: Path) -> str | None:
    """The first part that a model folder lacks, or None."""
    return next((part for part, names in PARTS.items() if not any(list(folder.glob(n)) for n in names)), None)
