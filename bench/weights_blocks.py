"""What attention by blocks (FlexAttention) could save the weighter's one pass: its mask's empty blocks.

    python bench/weights_blocks.py STUDENT DATA     DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz

Batches of 8 of the first 400 rationales, as in training. Writes results/weights_blocks.json.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from kpod.steps.cutting import spans, split
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.training.batches import epoch_batches
from kpod.weighting import predictor
from kpod.weighting.batch import collate
from kpod.weighting.examples import template_length, usable

RESULT = Path(__file__).parent / "results" / "weights_blocks.json"
SETS = {"svamp": "svamp.gpt-3.5-turbo.faithfulcot", "gsm8k": "gsm8k.gemini-1.5-flash.level2"}
BLOCK = 128  # FlexAttention's default
LAYER, WIDTH = 106_203_456 // 30, 576  # SmolLM2-135M: weights a layer, width


class Seen(Exception):
    """Carries the mask out of the pass, which need not go on."""


def rationales(data: Path, name: str, limit: int = 400) -> list[Rationale]:
    def lines(path: Path) -> list[dict[str, Any]]:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    asked = {row["id"]: row["question"] for row in lines(data / "questions" / f"{name}.train.jsonl.gz")}
    told = lines(data / "rationales" / f"{SETS[name]}.jsonl.gz")[:limit]
    return [
        Rationale(row["id"], 0, asked[row["id"]], None, str(row["answer"]), text, tuple(map(tuple, cut)))
        for row in told
        if (text := row["rationale"].strip()) and (cut := spans(split(text)).tolist())
    ]


def main() -> None:
    student, data = map(Path, sys.argv[1:])
    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    asked = predictor.OnePass(model, template_length(tokenizer), tokenizer.eos_token_id)
    plain = predictor._block_mask

    def seen(*arguments: Any) -> torch.Tensor:
        raise Seen(plain(*arguments))

    predictor._block_mask = seen
    result: dict[str, Any] = {"block": BLOCK}
    for name in SETS:
        examples, _ = usable(tokenise(tokenizer, rationales(data, name)), 512)
        for prefixes in (4, 8, 16):
            found = []
            seen = [one for one in examples if one.visible]
            for chosen in epoch_batches(np.array([one.tokens for one in seen]), 8, 0, 0):
                rows = [seen[i] for i in chosen]
                batch = collate(rows, prefixes, 0, 0, torch.device("cpu"))
                try:
                    asked.nll(batch, torch.zeros(len(rows), max(e.visible for e in rows), 8))
                except Seen as mask:
                    found.append(measure(mask.args[0][:, 0].numpy()))
            tokens, empty = np.mean(found, axis=0)
            attention = 4 * tokens * WIDTH / (4 * tokens * WIDTH + 2 * LAYER)
            result[f"{name}, {prefixes} prefixes"] = {
                "tokens a row": round(float(tokens), 1),
                "empty blocks": round(float(empty), 3),
                "attention's share of the FLOPs": round(float(attention), 3),
            }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def measure(mask: np.ndarray) -> tuple[int, float]:
    """Row length, and the share of blocks in which nobody sees anybody; `mask` bool [B, S, S]."""
    size = mask.shape[1]
    count = -(-size // BLOCK)
    padded = np.pad(mask, ((0, 0), (0, count * BLOCK - size), (0, count * BLOCK - size)))
    used = padded.reshape(len(mask), count, BLOCK, count, BLOCK).any((2, 4))
    return size, 1 - float(used.mean())


if __name__ == "__main__":
    main()
