"""Greedy generation with transformers' growing KV cache against its static one: CPU seconds, SmolLM2-135M's shape.

    python bench/static_cache.py [--rows 8] [--tokens 32]

Writes results/static_cache.json.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
         "num_key_value_heads": 3, "vocab_size": 49_152, "tie_word_embeddings": True}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, pad_token_id=0, eos_token_id=None)).eval()
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(0, 0.02)
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    ids = torch.randint(1, SHAPE["vocab_size"], (options.rows, options.prompt))
    found: dict[str, list[float]] = {"dynamic": [], "static": []}
    with torch.inference_mode():
        for _ in range(options.rounds):
            for cache, seconds in found.items():
                started = time.process_time()
                model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=options.tokens,
                    min_new_tokens=options.tokens, cache_implementation=cache if cache == "static" else None,
                )  # fmt: skip
                seconds.append(time.process_time() - started)
                print(cache, seconds[-1], flush=True)
    ratio = min(found["dynamic"]) / min(found["static"])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    told = {"command": "python bench/static_cache.py", **vars(options), **versions, "cpu_seconds": found}
    result = json.dumps({**told, "speed_of_static": ratio}, indent=1)
    (Path(__file__).parent / "results" / "static_cache.json").write_text(result + "\n")
    print(f"static is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
