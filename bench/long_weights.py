"""Time and memory of weighing one long rationale, and of one training step of the weighter on it.

    python bench/long_weights.py [--layers 4] [--width 256]

A Llama of random weights is student and answer predictor; each figure is of a process of its own, less what the same
process takes for a rationale of 16 tokens. Writes bench/results/long_weights.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "long_weights.json"
LENGTHS = (500, 4_000, 16_000)
PARTS = ("weigh", "train")


def work(part: str, length: int, layers: int, width: int) -> dict[str, float]:
    """Seconds of CPU and peak megabytes of this process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kpod.training.examples import Examples
    from kpod.training.examples import example as one_step
    from kpod.weighting.batch import collate
    from kpod.weighting.examples import Example, usable
    from kpod.weighting.infer import infer
    from kpod.weighting.network import Weighter
    from kpod.weighting.predictor import OnePass

    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    config = LlamaConfig(vocab_size=1000, num_attention_heads=4, max_position_embeddings=32_768, **shape)
    model = LlamaForCausalLM(config)
    weighter, embedding = Weighter(width, 64, 4), model.get_input_embeddings()
    ids = np.random.default_rng(0).integers(0, 1000, length).astype(np.int32)
    example = Example(
        key=("q", 0), prompt=ids[:16], rationale=ids, step=np.arange(length, dtype=np.int32) // 80,
        visible=length, answer=ids[:8],
    )  # fmt: skip
    started = time.process_time()
    if part == "weigh":
        rows = Examples.of([one_step(example.key, ids[:16], ids, ids[:8])])
        infer(usable(rows.tokens, length + 24)[0], weighter, embedding, 8192)
    else:
        batch = collate([example], 4, 0, 0, embedding.weight.device)
        raw = embedding(batch.rationale)
        mask = torch.sigmoid(weighter(raw.detach(), batch.visible))
        OnePass(model, 1, 0).nll(batch, raw * mask[..., None]).mean().backward()
    spent = time.process_time() - started
    return {"seconds": spent, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def apart(part: str, length: int, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, "--length", str(length)]
    command += ["--layers", str(given.layers), "--width", str(given.width)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(work(given.part, given.length, given.layers, given.width)))
        return
    found: dict[str, Any] = {"command": f"python bench/long_weights.py --layers {given.layers} --width {given.width}"}
    for part in PARTS:
        nothing = apart(part, 16, given)["mb"]
        for length in LENGTHS:
            told = apart(part, length, given)
            found.setdefault(part, {})[length] = {
                "seconds": round(told["seconds"], 2),
                "mb": round(told["mb"] - nothing),
            }
            print(part, length, found[part][length], flush=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
