"""Time and peak memory of reading what earlier stages wrote, before a model is loaded, at a number of rationales.

    python bench/scale.py --rationales 100000 [--work DIR]

Each part runs in a process of its own on made-up rationales of 5 steps and 100 tokens; 20 stages of a curriculum.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

STEPS, TOKENS, STAGES = 5, 100, 20
PARTS = ("read_rationales", "read_weights", "read_plan")


def make(folder: Path, count: int) -> None:
    """The files of the stages questions, rationales, steps, weights and curriculum for `count` rationales."""

    ids, sample = [f"q{i:07}" for i in range(count)], np.zeros(count, np.int32)
    step = " ".join(["A step of some words that gives 7."] * 2)
    text, width = " ".join([step] * STEPS), len(step) + 1
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"id": ids, "dataset": ["d"] * count, "split": ["train"] * count, "question": [step] * count}
    write(folder / "questions.parquet", {**asked, "answer": ["7"] * count, "choices": [None] * count}, "QUESTIONS")
    told = {"question_id": ids, "sample": sample, "rationale": [text] * count, "answer": ["7"] * count}
    told |= {"correct": [True] * count, "kept": [True] * count, "drop_reason": [None] * count, "model": ["m"] * count}
    told |= {"finish_reason": ["stop"] * count, "prompt_tokens": [9] * count, "completion_tokens": [9] * count}
    write(folder / "rationales.parquet", {**told, "cost_usd": [None] * count}, "RATIONALES")
    names = pa.array(ids).take(pa.array(np.repeat(np.arange(count), STEPS)))
    number = np.tile(np.arange(STEPS, dtype=np.int32), count)
    cut = {"question_id": names, "sample": np.zeros(len(number), np.int32), "step": number}
    ends = np.minimum((number + 1) * width, len(text)).astype(np.int32)
    cut |= {"text": [step] * len(number), "char_start": (number * width).astype(np.int32), "char_end": ends}
    write(folder / "steps.parquet", cut, "STEPS")
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * TOKENS)
    ints, floats = np.ones(count * TOKENS, np.int32), np.full(count * TOKENS, 0.5, np.float32)
    lists = {name: pa.ListArray.from_arrays(offsets, pa.array(ints)) for name in ("token_ids", "step")}
    lists |= {"weight": pa.ListArray.from_arrays(offsets, pa.array(floats))}
    write(folder / "weights.parquet", {"question_id": ids, "sample": sample, **lists}, "WEIGHTS")
    plan = {"stage": np.repeat(np.arange(STAGES, dtype=np.int32), count), "question_id": pa.array(ids * STAGES)}
    plan |= {"sample": np.tile(sample, STAGES), "input_steps": np.zeros(count * STAGES, np.int32)}
    write(folder / "curriculum.parquet", {**plan, "selected": [False] * (count * STAGES)}, "CURRICULUM")


def write(path: Path, columns: dict, schema: str) -> None:
    from kpod import schemas

    schemas.write(path, schemas.table(columns, getattr(schemas, schema)))


def part(name: str, folder: Path) -> dict[str, float]:
    """CPU seconds and peak memory of one part, less what its imports take."""
    from kpod.distill.plan import read_plan
    from kpod.text.rationales import read_rationales
    from kpod.training.examples import read_weights

    calls = {
        "read_rationales": lambda: read_rationales(folder, folder, folder),
        "read_weights": lambda: read_weights(folder),
        "read_plan": lambda: read_plan(folder),
    }
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    kept = calls[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"cpu_seconds": round(time.process_time() - started, 2), "peak_mib": round(peak / 1024), "kept": bool(kept)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rationales", type=int, default=20_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(options.part, options.work)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        if not (folder / "curriculum.parquet").exists():
            make(folder, options.rationales)
        print(f"| {options.rationales:,} rationales | CPU seconds | peak memory, MiB |\n|---|---|---|")
        for name in PARTS:
            command = [sys.executable, __file__, "--part", name, "--work", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| {name} | {found['cpu_seconds']} | {found['peak_mib']:,} |", flush=True)


if __name__ == "__main__":
    main()
