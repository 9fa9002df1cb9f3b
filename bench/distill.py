"""Speed and memory of the distiller against TRL's SFTTrainer: same model, rows, batches and threads; ratio first.

    sh bench/distill_env.sh && python bench/distill.py MODEL_FOLDER

The systems take turns, each run in a process of its own; the median of the rounds counts. All runs train on the same
rows, padded ones in the same batches. Writes results/distill.json and .md after every round.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from kpod.config import Curriculum
from kpod.curriculum import plan
from kpod.training.batches import epoch_batches
from kpod.training.loss import weighted_nll

HERE = Path(__file__).parent
PEER = HERE / "distill_peer" / ".venv" / "bin" / "python"
EPOCHS = 4  # of the run whose curriculum is measured: two stages give steps, two give none
SYSTEMS = [("kpod", 0), ("trl", 0), ("trl", 1)]  # kpod does not pack
RUNS = [(system, adapter, packing) for adapter in ("full", "lora") for system, packing in SYSTEMS]


def make_rows(path: Path, count: int, batch: int) -> None:
    """Random ids with the lengths of worked word problems: about 70 tokens of prompt, 130 of target, a step in 25.

    They lie in the order in which both systems train on them. `given` [stages] is what the curriculum gives.
    """
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        prompt = int(np.clip(generator.lognormal(4.2, 0.3), 30, 160))
        target = int(np.clip(generator.lognormal(4.7, 0.4), 40, 300))
        cuts = np.sort(generator.integers(0, max(1, target // 25), target - 8))
        steps = np.unique(cuts, return_inverse=True)[1]  # numbered without gaps
        ids = generator.integers(3, 49_000, prompt + target)
        made.append((ids[:prompt], ids[prompt:], np.concatenate([steps, np.full(8, -1)])))  # -1: the answer
    lengths = np.array([len(prompt) + len(target) for prompt, target, _ in made])
    order = np.concatenate(epoch_batches(lengths, batch, 0, 0))
    columns = dict(zip(("prompt", "target", "step"), zip(*(made[i] for i in order), strict=True), strict=True))
    difficulties = [np.bincount(step[step >= 0]).astype(float) for step in columns["step"]]
    schedule = plan(difficulties, np.zeros(count, int), Curriculum(epochs=EPOCHS, T=0.5))
    joined = {name: np.concatenate(parts).astype(np.int32) for name, parts in columns.items()}
    sizes = {f"{name}_length": np.array([len(part) for part in parts]) for name, parts in columns.items()}
    np.savez(path, **joined, **sizes, given=schedule.input_steps)


def measured(system: str, adapter: str, packing: int, rows: Path, options: argparse.Namespace, *more: str) -> dict:
    python = sys.executable if system == "kpod" else str(PEER)
    command = [python, str(HERE / "distill_work.py"), system, "--model", str(options.model), "--rows", str(rows)]
    command += ["--adapter", adapter, "--batch", str(options.batch), *(["--packing"] if packing else []), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    figures: dict = json.loads(done.stdout.strip().splitlines()[-1])
    print(system, adapter, "packed" if packing else "padded", json.dumps(figures), flush=True)
    return figures


def matmul_peak(threads: int) -> float:
    """fp32 matrix product, FLOP a CPU second, at the sizes of this model's layers."""
    torch.set_num_threads(threads)
    a, b = torch.randn(1536, 576), torch.randn(576, 1536)
    best = float("inf")
    for _ in range(20):
        started = time.process_time()
        for _ in range(20):
            a @ b
        best = min(best, (time.process_time() - started) / 20)
    return 2 * 1536 * 576 * 1536 / best


def loss_seconds(targets: int) -> float:
    """CPU seconds of the loss and its gradient on logits that are there: what a fused cross-entropy could save."""
    logits = torch.randn(targets, 49_152, requires_grad=True)
    labels, weights = torch.randint(0, 49_152, (targets,)), torch.rand(targets)
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        torch.autograd.grad(weighted_nll(logits, labels, weights, targets), logits)
        best = min(best, time.process_time() - started)
    return best


def speed(runs: list[dict], name: str = "plain") -> float:
    """Target tokens a CPU second: other work on a shared machine delays a process, but is not counted to it."""
    return statistics.median(run[name]["target_tokens"] / run[name]["cpu_seconds"] for run in runs)


def summary(result: dict) -> list[str]:
    """The Markdown, and the ratios put into `result`."""
    runs = {tuple(name.split()): found for name, found in result["runs"].items()}
    lines = [
        "| student | against | target tokens a CPU second, ratio | kpod | TRL | peak memory, ratio |",
        "|---|---|---|---|---|---|",
    ]
    result["cases"] = []
    for adapter in ("full", "lora"):
        for form in ("padded", "packed"):
            ours, theirs = runs["kpod", adapter, "padded"], runs["trl", adapter, form]
            memory = statistics.median(r["peak_gib"] for r in ours) / statistics.median(r["peak_gib"] for r in theirs)
            case = {"adapter": adapter, "form": form, "speed": speed(ours) / speed(theirs), "memory": memory}
            result["cases"].append(case)
            lines.append(
                f"| {adapter} | {form} | **{case['speed']:.2f}** | {speed(ours):.1f} | {speed(theirs):.1f} "
                f"| {memory:.2f} |"
            )
    ours, theirs = runs["kpod", "full", "padded"], runs["trl", "full", "padded"]
    stages = ours[0]["stages"]
    whole = EPOCHS * ours[0]["plain"]["target_tokens"]
    tokens = sum(stage["target_tokens"] for stage in stages)
    seconds, of_trl = (
        statistics.median(sum(stage["cpu_seconds"] for stage in run["stages"]) for run in found)
        for found in (ours, theirs)
    )
    peak = result["matmul_peak_gflops"]
    result["curriculum"] = {
        "target_share": tokens / whole,
        "flop_share": sum(stage["flop"] for stage in stages) / EPOCHS / ours[0]["plain"]["flop"],
        "time_share": seconds / EPOCHS / statistics.median(run["plain"]["cpu_seconds"] for run in ours),
        "speed_same_targets": of_trl / seconds,
        "speed_trl_all_targets": tokens / seconds / speed(theirs),
        "speed_trl_all_targets_packed": tokens / seconds / speed(runs["trl", "full", "packed"]),
    }
    result["peak_share"] = statistics.median(
        run["plain"]["flop"] / run["plain"]["cpu_seconds"] / 1e9 / peak for run in ours
    )
    result["feeding_share"] = max(run["plain"]["feeding_seconds"] / run["plain"]["cpu_seconds"] for run in ours)
    result["loss_share"] = loss_seconds(stages[-1]["target_tokens"]) / statistics.median(
        run["plain"]["cpu_seconds"] for run in ours
    )
    found = result["curriculum"]
    lines += [
        "",
        f"With the curriculum on, over a whole run of {EPOCHS} epochs (full, padded): target tokens a CPU second"
        f" **{found['speed_same_targets']:.2f}** times those of TRL that is given the same steps as prompt, and"
        f" **{found['speed_trl_all_targets']:.2f}** times those of TRL that trains whole rationales"
        f" ({found['speed_trl_all_targets_packed']:.2f} if TRL packs). {tokens} of {whole} tokens are targets"
        f" ({found['target_share']:.2f}); the run costs {found['flop_share']:.2f} of the floating point operations"
        f" of one that gives nothing, and {found['time_share']:.2f} of its time: a given token saves its logits, and"
        f" its way through the layers, forth and back, remains. At best the rate of target tokens is"
        f" {found['target_share'] / found['flop_share']:.2f} of the rate without a curriculum.",
        f"Share of the measured matmul peak ({peak:.0f} GFLOP a CPU second) that training reaches (full, padded):"
        f" **{result['peak_share']:.2f}**. Building the batches takes {result['feeding_share']:.4f} of the time, the"
        f" loss and its gradient on logits that are there {result['loss_share']:.3f}: all that a fused"
        " cross-entropy could save.",
    ]
    if "compiled" in result:
        ratio = speed(result["compiled"]) / speed(result["not_compiled"])
        lines += [
            "",
            f"`distill.compile`, behind its compilation: **{ratio:.2f}** times the speed without it (full, padded).",
        ]
    return lines


def write(result: dict, options: argparse.Namespace) -> None:
    rounds, threads, batch = result["rounds_done"], options.threads, options.batch
    lines = [
        f"SmolLM2-135M, fp32, {result['machine']}, {threads} thread(s), {options.rows} rows of about 200 tokens in"
        f" batches of {batch}, median of {rounds} round(s) in which the systems take turns; torch {result['torch']},"
        f" TRL 1.16.0; {result['date']}, on a machine shared with other work, hence CPU time. Padded runs have the same"
        " rows in the same batches; packed ones, of TRL alone, the same rows, and as many tokens a batch.",
        f"Made by `python bench/distill.py MODEL --rows {options.rows} --batch {batch}`.",
        "",
        *summary(result),
    ]
    (HERE / "results" / "distill.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results" / "distill.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def compiled(options: argparse.Namespace) -> None:
    """With and without torch.compile, in turn; the other figures stay as they are."""
    result = json.loads((HERE / "results" / "distill.json").read_text())
    found: dict = {"not_compiled": [], "compiled": []}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        make_rows(rows, options.rows, options.batch)
        for _ in range(options.rounds):
            found["not_compiled"].append(measured("kpod", "full", 0, rows, options))
            found["compiled"].append(measured("kpod", "full", 0, rows, options, "--compile"))
    write(result | found, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile alone, keep the rest")
    options = parser.parse_args()
    if options.compile:
        compiled(options)
        return
    result: dict = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    result |= {name: getattr(options, name) for name in ("rows", "batch", "threads")}
    result["date"] = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result["matmul_peak_gflops"] = matmul_peak(options.threads) / 1e9
    result["runs"] = {f"{s} {a} {'packed' if p else 'padded'}": [] for s, a, p in RUNS}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        make_rows(rows, options.rows, options.batch)
        for done in range(options.rounds):
            for system, adapter, packing in RUNS:
                stages = ("--stages",) if (adapter, packing) == ("full", 0) else ()
                found = measured(system, adapter, packing, rows, options, *stages)
                result["runs"][f"{system} {adapter} {'packed' if packing else 'padded'}"].append(found)
            result["rounds_done"] = done + 1
            write(result, options)


if __name__ == "__main__":
    main()
