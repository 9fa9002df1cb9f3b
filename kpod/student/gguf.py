"""Loading of a student from a GGUF file."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase


def load(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load and dequantise `file` to fp32, without a quantisation config, so that it can be saved as safetensors."""
    quantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.tie_weights()
    return model, tokenizer
