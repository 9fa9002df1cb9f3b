"""Time and memory of steps, tokens, the data of weights and difficulty, and the curriculum over long rationales.

    python bench/long_rationales.py --out bench/results/long_rationales.json

Generated rationales of 200 steps with about 500, 4,000 and 16,000 tokens; the figures are for one rationale. No model
is run: what is shown is that the work around it grows with the length, not with its square.
"""

import argparse
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from kpod.config import Curriculum, Difficulty
from kpod.curriculum import plan
from kpod.difficulty.stage import difficulties
from kpod.steps.cutting import merged, spans, split
from kpod.text.rationales import Rationale
from kpod.text.table import Column
from kpod.tokens.rows import tokenise
from kpod.training.examples import usable
from kpod.weighting import examples as weighting
from kpod.weighting.prefixes import ends

STEPS = 200
END = "<eos>"
SENTENCE = "so we add the first number to what was left and see that it is more than before"
WORDS = re.split(" ", SENTENCE)


def rationale(tokens: int, seed: int) -> str:
    """200 sentences with about so many words in all."""
    rng = np.random.default_rng(seed)
    length = max(1, tokens // STEPS - 1)
    return " ".join(f"{' '.join(rng.choice(WORDS, length))}{rng.integers(10)}." for _ in range(STEPS))


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has a token for each of the words."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    told = {"vocab_size": 400, "special_tokens": [END], "initial_alphabet": alphabet, "show_progress": False}
    raw.train_from_iterator([f" {' '.join(WORDS)}"] * 10, trainers.BpeTrainer(**told))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=END, eos_token=END)


def measured(work: Callable[[], Any], count: int) -> tuple[Any, dict[str, float]]:
    """What `work` returns, with CPU milliseconds (best of three) and peak kilobytes for each of `count` rationales."""
    best = min(_seconds(work) for _ in range(3))
    tracemalloc.start()
    made = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return made, {"ms": round(1e3 * best / count, 3), "kb": round(peak / 1e3 / count, 1)}


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def figures(tokens: int, count: int, reader: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The work of each stage on `count` rationales."""
    texts = [rationale(tokens, seed) for seed in range(count)]
    found: dict[str, Any] = {}
    parts, found["steps"] = measured(lambda: [split(text) for text in texts], count)
    joined, found["merge to 12 steps"] = measured(lambda: [merged(part, 12) for part in parts], count)
    rows = [
        Rationale(f"q{i}", 0, "How many?", None, "7", text, tuple(map(tuple, spans(part).tolist())))
        for i, (text, part) in enumerate(zip(texts, parts, strict=True))
    ]
    tokens, found["tokens"] = measured(lambda: tokenise(reader, rows), count)
    examples, _ = usable(tokens, 10**6)
    weighed, _ = weighting.usable(tokens, 10**6)
    rng = np.random.default_rng(0)
    _, found["prefixes"] = measured(lambda: [ends(one, 4, rng) for one in weighed], count)
    losses = Column.of([np.ones(size, dtype=np.float32) for size in tokens.rationale.size], np.float32)
    counts = tokens.steps.astype(np.int64)
    _, found["difficulty of steps"] = measured(lambda: difficulties(examples, losses, counts, Difficulty()), count)
    clusters = np.arange(count) % 5
    for name, cut in (("curriculum, all steps", parts), ("curriculum, 12 steps", joined)):
        hard = [np.ones(len(part)) for part in cut]
        _, found[name] = measured(lambda hard=hard: plan(hard, clusters, Curriculum(epochs=16)), count)
    return {
        "tokens": float(np.mean([len(one.target) for one in examples])),
        "steps": float(np.mean([len(part) for part in parts])),
        "work": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("bench/results/long_rationales.json"))
    given = parser.parse_args()
    reader = tokenizer()
    found = [figures(tokens, given.count, reader) for tokens in (500, 4_000, 16_000)]
    for one in found:
        print(round(one["tokens"]), "tokens,", one["steps"], "steps:", one["work"])
    command = f"python bench/long_rationales.py --count {given.count}"
    given.out.write_text(json.dumps({"command": command, "rationales": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
