"""The files that a model folder in Hugging Face layout must contain."""

from pathlib import Path

# Each part with the file names that provide it.
PARTS = {
    "config": ("config.json",),
    "weights (only *.safetensors are loaded)": ("*.safetensors",),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "spiece.model"),
}


def missing_part(folder: Path) -> str | None:
    """The first of PARTS (config, weights, tokenizer) that a model folder lacks, or None."""
    return next((part for part, names in PARTS.items() if not any(list(folder.glob(n)) for n in names)), None)
