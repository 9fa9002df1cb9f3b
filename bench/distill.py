"""Speed and memory of the distiller against TRL's SFTTrainer: same model, rows, batch size, threads; ratio first.

    sh bench/distill_env.sh && python bench/distill.py MODEL_FOLDER

Runs alternate between the two systems, each in a process of its own; the median of the rounds counts. Writes
results/distill.json and results/distill.md.
"""

import argparse
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

HERE = Path(__file__).parent
PEER = HERE / "distill_peer" / ".venv" / "bin" / "python"


def make_rows(path: Path, count: int) -> None:
    """Random ids with the lengths of worked word problems: about 70 tokens of prompt, 130 of target, a step in 25."""
    generator = np.random.default_rng(0)
    found: dict[str, list[np.ndarray]] = {"prompt": [], "target": [], "step": []}
    for _ in range(count):
        prompt = int(np.clip(generator.lognormal(4.2, 0.3), 30, 160))
        target = int(np.clip(generator.lognormal(4.7, 0.4), 40, 300))
        steps = np.sort(generator.integers(0, max(1, target // 25), target - 8))
        found["prompt"].append(generator.integers(3, 49_000, prompt))
        found["target"].append(generator.integers(3, 49_000, target))
        found["step"].append(np.concatenate([steps, np.full(8, -1)]))  # the answer's tokens belong to no step
    joined = {name: np.concatenate(rows).astype(np.int32) for name, rows in found.items()}
    lengths = {f"{name}_length": np.array([len(row) for row in rows]) for name, rows in found.items()}
    np.savez(path, **joined, **lengths)


def measured(system: str, adapter: str, packing: bool, rows: Path, options: argparse.Namespace, given: float) -> dict:
    python = sys.executable if system == "kpod" else str(PEER)
    command = [python, str(HERE / "distill_work.py"), system, "--model", str(options.model), "--rows", str(rows)]
    command += ["--adapter", adapter, "--batch", str(options.batch), "--given", str(given)]
    command += ["--packing"] if packing else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    # CPU time: other work on a shared machine delays a process, but is not counted to it.
    figures["target_tokens_per_cpu_s"] = figures["target_tokens"] / figures["cpu_seconds"]
    print(system, adapter, "packed" if packing else "padded", given, json.dumps(figures), flush=True)
    return figures


def matmul_peak(threads: int) -> float:
    """fp32 matrix product, FLOP/s, at sizes of this model's layers."""
    torch.set_num_threads(threads)
    a, b = torch.randn(1536, 576), torch.randn(576, 1536)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 1536 * 576 * 1536 / best


def median(runs: list[dict], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    result: dict = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    result |= {name: getattr(options, name) for name in ("rows", "batch", "threads", "rounds")}
    result["matmul_peak_gflops"] = matmul_peak(options.threads) / 1e9
    lines = [
        "| student | against | target tokens a CPU second, ratio | kpod | TRL | peak memory, ratio |",
        "|---|---|---|---|---|---|",
    ]
    result["cases"] = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        make_rows(rows, options.rows)
        for adapter in ("full", "lora"):
            runs: dict[str, list[dict]] = {"kpod": [], "padded": [], "packed": []}
            for _ in range(options.rounds):
                runs["kpod"].append(measured("kpod", adapter, False, rows, options, 0))
                runs["padded"].append(measured("trl", adapter, False, rows, options, 0))
                runs["packed"].append(measured("trl", adapter, True, rows, options, 0))
            ours = {name: median(runs["kpod"], name) for name in ("target_tokens_per_cpu_s", "peak_gib")}
            for peer in ("padded", "packed"):
                theirs = {name: median(runs[peer], name) for name in ours}
                speed = ours["target_tokens_per_cpu_s"] / theirs["target_tokens_per_cpu_s"]
                memory = ours["peak_gib"] / theirs["peak_gib"]
                lines.append(
                    f"| {adapter} | TRL {peer} | **{speed:.2f}** | {ours['target_tokens_per_cpu_s']:.1f} "
                    f"| {theirs['target_tokens_per_cpu_s']:.1f} | {memory:.2f} |"
                )
                result["cases"].append({"adapter": adapter, "peer": peer, "speed_ratio": speed, "memory_ratio": memory})
            result[f"runs_{adapter}"] = runs
        half = measured("kpod", "full", False, rows, options, 0.5)
        whole = result["runs_full"]["kpod"][-1]
        result["half_given"] = half
        result["cpu_seconds_half_given_to_whole"] = half["cpu_seconds"] / whole["cpu_seconds"]
    (HERE / "results" / "distill.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results" / "distill.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
