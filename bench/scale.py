"""Time and peak memory of every stage but the training itself, at a number of rationales.

    python bench/scale.py --rationales 100000 [--samples 1] [--work DIR] [--parts weights distill]

Rationales are made up: 5 steps, 75 words and some sums each. The stages run one after the other, each in a process of
its own, on a student of the width and vocabulary of a small one whose network is never called: `weights` and
`difficulty` get made-up figures where their networks would compute them, and `distill` stops at its first step. Beside
them stands the tokenizer's own time: `encode_batch` of the same prompts, rationales and answers. Peak memory is of
private pages (RssAnon) and, apart, with the mapped files that the process has touched. CPU seconds are of all threads,
without the imports.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

STAGES = ("tokenizer", "steps", "tokens", "weights", "difficulty", "curriculum", "distill")
RESULT = Path(__file__).parent / "results" / "scale.json"
EPOCHS = 20  # of the curriculum, and so of the distillation


def words(generator: random.Random) -> list[str]:
    parts = ["ba", "ko", "ri", "ten", "mo", "lu", "sa", "vir", "den", "pa", "qui", "zo"]
    return ["".join(generator.choices(parts, k=generator.randint(1, 4))) for _ in range(5000)]


def step(generator: random.Random, known: list[str]) -> str:
    a, b = generator.randint(2, 99), generator.randint(2, 99)
    return f"{' '.join(generator.choices(known, k=14)).capitalize()} {a} + {b} = {a + b}."


def make(folder: Path, count: int, samples: int) -> None:
    """The files of the stages questions, rationales and base, written batch by batch."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from kpod import schemas

    generator = random.Random(0)
    known = words(generator)
    for name in ("questions", "rationales", "base/student"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    sample = [step(generator, known) for _ in range(10_000)]
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator(sample, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")  # noqa: S106
    tokenizer.save_pretrained(folder / "base" / "student")
    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder / "base" / "student")
    questions = -(-count // samples)
    with schemas.writing(folder / "questions" / "questions.parquet", schemas.QUESTIONS) as write:
        for at in range(0, questions, 50_000):
            ids = [f"q{i:07}" for i in range(at, min(at + 50_000, questions))]
            asked = [f"{step(generator, known)} {step(generator, known)} How many?" for _ in ids]
            write({"id": ids, "dataset": ["d"] * len(ids), "split": ["train"] * len(ids), "question": asked,
                   "answer": [str(generator.randint(1, 999)) for _ in ids], "choices": [None] * len(ids)})  # fmt: skip
    with schemas.writing(folder / "rationales" / "rationales.parquet", schemas.RATIONALES) as write:
        for at in range(0, count, 50_000):
            rows = range(at, min(at + 50_000, count))
            n = len(rows)
            texts = [" ".join(step(generator, known) for _ in range(5)) for _ in rows]
            write({"question_id": [f"q{i // samples:07}" for i in rows], "sample": [i % samples for i in rows],
                   "rationale": texts, "answer": ["7"] * n, "correct": [True] * n, "kept": [True] * n,
                   "drop_reason": [None] * n, "model": ["m"] * n, "finish_reason": ["stop"] * n,
                   "prompt_tokens": [9] * n, "completion_tokens": [9] * n, "cost_usd": [None] * n})  # fmt: skip


class Reached(Exception):
    """The first step of the training."""


def stop(*_: Any) -> None:
    raise Reached


def tokenizer_alone(folder: Path) -> None:
    """Encode every prompt, rationale and answer, in batches; the results are thrown away."""
    from transformers import AutoTokenizer

    from kpod import schemas

    backend = AutoTokenizer.from_pretrained(folder / "base" / "student").backend_tokenizer

    def encode(texts: list[str]) -> None:
        for at in range(0, len(texts), 512):
            backend.encode_batch(texts[at : at + 512], add_special_tokens=False)

    names = ("question", "answer")
    for batch in schemas.batches(folder / "questions" / "questions.parquet", schemas.QUESTIONS, names, 10_000):
        encode([f"Q: {one} A: Let's think step by step." for one in batch["question"].to_pylist()])
        encode([f" Therefore, the answer is {one}." for one in batch["answer"].to_pylist()])
    path = folder / "rationales" / "rationales.parquet"
    for batch in schemas.batches(path, schemas.RATIONALES, ("rationale",), 10_000):
        encode([f" {one}" for one in batch["rationale"].to_pylist()])


def stage(name: str, folder: Path) -> None:
    """Run a stage without its network."""
    import numpy as np

    from kpod.config import (
        Budget,
        Difficulty,
        Distill,
        Form,
        PlannedCurriculum,
        Steps,
        Weights,
    )  # fmt: skip
    from kpod.text.table import Column

    inputs = {one.name: one for one in folder.iterdir() if one.is_dir()}
    out = folder / name
    out.mkdir(exist_ok=True)

    def column(examples: Any, *_: Any) -> Column:
        size = examples.tokens.rationale.size[examples.rows]
        values = np.random.default_rng(0).random(int(size.sum()), dtype=np.float32)
        return Column(values, np.cumsum(size) - size, size)

    def losses(model: Any, pad: int, examples: Any, limit: int) -> Column:
        return column(examples)

    if name == "steps":
        from kpod.steps.stage import run

        run(inputs, Steps(), out)
    elif name == "tokens":
        from kpod.tokens.stage import run as tokenise

        tokenise(inputs, Form(), out)
    elif name == "weights":
        from kpod.weighting import stage as weighting

        training = mock.Mock()
        training.return_value.run.return_value = {}
        with mock.patch.multiple(weighting, Training=training, infer=column):
            weighting.run(inputs, Weights(precision="fp32"), out)
    elif name == "difficulty":
        from kpod.difficulty import stage as difficulty

        with mock.patch.object(difficulty, "token_losses", losses):
            difficulty.run(inputs, Difficulty(precision="fp32"), out)
    elif name == "curriculum":
        from kpod.curriculum.stage import run as plan

        plan(inputs, PlannedCurriculum(epochs=EPOCHS, budget=Budget(epochs=EPOCHS), samples=None), out)
    else:
        from kpod.distill.stage import run as distil
        from kpod.methods.task import StudentTask

        config = Distill(budget=Budget(epochs=EPOCHS), precision="fp32", batch_size=64)
        with mock.patch.object(StudentTask, "backward", stop):
            try:
                distil(inputs, config, out)
            except Reached:
                return
        raise AssertionError("the training has no step")


def memory() -> tuple[int, int]:
    """KiB of private pages, and of these with the mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines["RssAnon"].split()[0]), int(lines["VmHWM"].split()[0])


def imports() -> None:
    """What the stages import, whatever the number of rationales."""
    import sklearn.cluster  # noqa: F401
    import torch  # noqa: F401
    import transformers

    for name in ("AutoTokenizer", "AutoModelForCausalLM", "LlamaForCausalLM"):
        getattr(transformers, name)
    for name in ("steps", "tokens", "weighting", "difficulty", "curriculum", "distill"):
        import_module(f"kpod.{name}.stage")


def measured(work: Callable[[], None]) -> dict[str, float]:
    imports()
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], memory()[0])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    cpu, wall = time.process_time(), time.monotonic()
    work()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    ended.set()
    watcher.join()
    peak[0] = max(peak[0], memory()[0])
    return {
        "cpu_seconds": round(cpu, 2), "wall_seconds": round(wall, 2),
        "private_mib": round(peak[0] / 1024), "with_mapped_mib": round(memory()[1] / 1024),
    }  # fmt: skip


def report(results: dict[str, Any]) -> str:
    text = ["# Time and memory by number of rationales", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
    for name, result in sorted(results.items(), key=lambda pair: pair[1]["rationales"]):
        text += [f"## {name}", "", f"`{result['command']}`", ""]
        text += [result["note"], ""] if "note" in result else []
        text += ["| part | CPU seconds | times the tokenizer's | private memory, GiB | with mapped files, GiB |"]
        text += ["|---|---|---|---|---|"]
        own = result["parts"]["tokenizer"]["cpu_seconds"]
        for part, found in result["parts"].items():
            memory = f"{found['private_mib'] / 1024:.2f} | {found['with_mapped_mib'] / 1024:.2f}"
            label = "the tokenizer alone" if part == "tokenizer" else f"`{part}`"
            text.append(f"| {label} | {found['cpu_seconds']:.1f} | {found['cpu_seconds'] / own:.2f} | {memory} |")
        total = sum(found["cpu_seconds"] for part, found in result["parts"].items() if part != "tokenizer")
        text += [f"| **all stages** | **{total:.1f}** | **{total / own:.2f}** | | |", ""]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rationales", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1, help="rationales a question")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--parts", nargs="+", choices=STAGES, default=STAGES, help="the others stay as they are")
    parser.add_argument("--part", choices=STAGES, help="run one in this process")
    options = parser.parse_args()
    if options.part:
        run = tokenizer_alone if options.part == "tokenizer" else lambda folder: stage(options.part, folder)
        print(json.dumps(measured(lambda: run(options.work))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        if not (folder / "rationales" / "rationales.parquet").is_file():
            make(folder, options.rationales, options.samples)
        results = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
        shown = f"{options.rationales:,} rationales, {options.samples} a question"
        parts = results.get(shown, {}).get("parts", {})
        for name in options.parts:
            command = [sys.executable, __file__, "--part", name, "--work", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            parts[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, parts[name], flush=True)
    told = f"python bench/scale.py --rationales {options.rationales} --samples {options.samples}"
    results[shown] = results.get(shown, {}) | {
        "command": told, "rationales": options.rationales, "cores": os.cpu_count(), "parts": parts,
    }  # fmt: skip
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(report(results) + "\n")


if __name__ == "__main__":
    main()
