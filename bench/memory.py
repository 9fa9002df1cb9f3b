"""GPU memory of each stage for students of 1 and 8 billion parameters, from shapes alone (`kpod.estimate`).

    python bench/memory.py

Writes results/memory.json and .md. The estimate is checked against real training of small models in
tests/test_estimate.py.
"""

import json
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from kpod.config import Difficulty, Distill, Evaluate, Weights
from kpod.estimate import memory
from kpod.estimate.memory import Memory, Row
from kpod.estimate.student import Shape

HERE = Path(__file__).parent
ROW = Row(prompt=160, rationale=352)  # a batch of the longest rows
SIZES: dict[str, dict[str, Any]] = {  # the shapes of Llama 3
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}
LORA = {"kind": "lora", "rank": 64}
DISTILL: dict[str, dict[str, Any]] = {
    "distill, full": {},
    "distill, full, checkpointed": {"gradient_checkpointing": True},
    "distill, LoRA": {"adapter": LORA},
    "distill, LoRA, checkpointed": {"adapter": LORA, "gradient_checkpointing": True},
    "distill, QLoRA, checkpointed": {"adapter": {**LORA, "quantize": "nf4"}, "gradient_checkpointing": True},
}


def stages(shape: Shape) -> dict[str, Memory]:
    found = {name: memory.distillation(shape, Distill(**more), ROW)[0] for name, more in DISTILL.items()}
    size = shape(memory.dtype(Weights())).num_parameters()
    for adapter in ("full", "lora"):
        settings = Weights(predictor_adapter=adapter).for_predictor(size)
        found[f"weights, predictor {adapter}"] = memory.weighting(shape, settings, ROW)[0]
    found["difficulty"] = memory.scoring(shape, Difficulty(), ROW)[0]
    found["evaluate"] = memory.answering(shape, memory.dtype(Evaluate()), Evaluate(), ROW.prompt)
    return found


def main() -> None:
    result: dict[str, Any] = {}
    lines = [
        f"Rows of {ROW.prompt} + {ROW.target} tokens, default settings (8 rows a forward pass of `distill`, 8,192"
        " tokens one of `weights`, 64 questions of up to 512 new tokens in `evaluate`), bf16; GB of 10^9 bytes."
        " Made by `python bench/memory.py`.",
    ]
    for name, more in SIZES.items():
        shape = Shape(
            LlamaConfig(
                vocab_size=128_256,
                num_attention_heads=32,
                num_key_value_heads=8,
                head_dim=more["hidden_size"] // 32,
                **more,
            )
        )
        found = stages(shape)
        result[name] = {stage: {**vars(told), "total": told.total} for stage, told in found.items()}
        lines += [
            "",
            f"Llama-3-{name}:",
            "",
            "| stage | weights | gradients | optimizer | activations | logits | KV cache | total |",
        ]
        lines.append("|---|---|---|---|---|---|---|---|")
        for stage, told in found.items():
            cells = [f"{value / 1e9:.1f}" for value in (*vars(told).values(), told.total)]
            lines.append(f"| {stage} | {' | '.join(cells[:-1])} | **{cells[-1]}** |")
    (HERE / "results" / "memory.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results" / "memory.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
