"""Time, certificate and memory of the curriculum, and time of the cutting into steps. One thread, one run each.

Usage: python bench/curriculum.py [--only selection|plan|growth|steps ...] [--solvers structured ftgp greedy]
Every measurement runs in a process of its own. Writes bench/results/curriculum.json, .md and .png; what is not run
keeps its former figures.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "curriculum.json"
SIZES = (7_473, 100_000, 1_000_000)
GROWTH = (7_473, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
SOLVERS = ("structured", "ftgp", "greedy")
RATIONALES = 100_000
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "RAYON")}
Figures = dict[str, Any]


def data(n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """n rationales of 2-8 steps, difficulties of mean 1 nat, five clusters of unequal size."""
    rng = np.random.default_rng(0)
    steps = rng.integers(2, 9, n)
    flat = rng.gamma(2.0, 0.5, int(steps.sum()))
    return np.split(flat, np.cumsum(steps)[:-1]), rng.choice(5, n, p=[0.35, 0.25, 0.2, 0.12, 0.08])


def measure_selection(n: int, solver: str) -> Figures:
    """One selection: the last step of every rationale is on offer, the budget is a tenth of them."""
    from kpod.curriculum import solve

    difficulties, clusters = data(n)
    gain = np.array([values[-1] for values in difficulties])
    clock = Clock()
    found = solve(gain, clusters, 12.0, 0.1 * float(gain.sum()), solver)  # type: ignore[arg-type]
    return {**clock.stop(), "gap": found.gap, "selected": len(found.indices)}


def measure_plan(n: int, solver: str) -> Figures:
    """The whole plan: 20 epochs, T = 10, beta = 12."""
    from kpod.config import Curriculum
    from kpod.curriculum import plan

    difficulties, clusters = data(n)
    before = memory()
    clock = Clock()
    schedule = plan(difficulties, clusters, Curriculum(epochs=20, T=0.5, beta=12, solver=solver))  # type: ignore[arg-type]
    return {
        **clock.stop(),
        "gap": float(schedule.certificate.max()),
        "reached": float((schedule.reached / schedule.target).min()),
        "input_mb": before,
        "peak_mb": memory(),
    }


def measure_steps(n: int, solver: str) -> Figures:
    """Cut n made-up rationales, tokenise them with a byte-level BPE and give every token its step, as the stages do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from kpod.steps.cutting import spans, split
    from kpod.text.offsets import token_steps
    from kpod.text.tokens import token_spans

    texts = rationales(n)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts[:5000], trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet))
    part = texts[: n // 10]
    clock = Clock()
    tokenizer.encode_batch(part, add_special_tokens=False)
    library = clock.stop()["cpu_s"] * n / len(part)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    clock = Clock()
    bounds = [spans(split(text)).tolist() for text in texts]
    cut = clock.stop()
    found = token_spans(fast, texts)
    token_steps([places for _, places in found], bounds)  # type: ignore[arg-type]
    return {
        "split_cpu_s": cut["cpu_s"],
        "library_cpu_s": library,
        **clock.stop(),
        "steps": sum(map(len, bounds)),
        "tokens": sum(len(ids) for ids, _ in found),
        "characters": sum(map(len, texts)),
    }


def rationales(n: int) -> list[str]:
    """Texts with what the rules look at: decimals, titles, list markers, new lines, formulas."""
    rng = np.random.default_rng(0)
    forms = [
        "First, we work out how many apples Mr. {a} has: {x} + {y} = {z}.",
        " Each box costs ${x}.50, so {y} boxes cost {y} * {x}.50 = {z}.50 dollars in total.",
        "\n{y}. Divide {z} by {x}, i.e. share the apples among the friends.",
        " He gives away {x} at 5 p.m. and keeps the other {y}!",
        "\n\nNow the rest is {z} - {x} = {y}... so {y} are left for Dr. {b} F. Smith.",
        " Therefore there are {z} of them.",
    ]
    names = ("Lee", "Kim", "Ray", "Cole")
    result = []
    for count in rng.integers(3, 8, n):
        numbers = iter(rng.integers(1, 500, 3 * int(count)).tolist())
        chosen = rng.integers(0, len(forms), int(count))
        result.append(
            "".join(
                forms[f].format(a=names[f % 4], b=names[-1 - f % 4], x=next(numbers), y=next(numbers), z=next(numbers))
                for f in chosen
            )
        )
    return result


class Clock:
    """Wall and CPU seconds since its making."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> Figures:
        return {"wall_s": time.perf_counter() - self.wall, "cpu_s": time.process_time() - self.cpu}


def memory() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(what: str, n: int, solver: str = "structured") -> Figures:
    """One measurement in a fresh process of one thread."""
    command = [sys.executable, __file__, "--measure", what, str(n), solver]
    environment = {**os.environ, **ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    figures: Figures = json.loads(output.splitlines()[-1])
    print(what, n, solver, figures, flush=True)
    return figures


def machine() -> Figures:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = {name: version(name) for name in ("numpy", "tokenizers", "transformers")}
    return {"cpu": names[0] if names else platform.processor(), "python": platform.python_version(), **packages}


def report(result: Figures) -> str:
    """The figures as Markdown."""
    m = result["machine"]
    lines = [
        "# Curriculum: time, certificate, memory",
        "",
        f"One thread, one run each, on a shared machine ({m['cpu']}; Python {m['python']}, numpy {m['numpy']}). CPU",
        "seconds are those of the process; wall time includes waiting for others. Rationales of 2-8 steps, K = 5,",
        "beta = 12. `gap`: the share of the upper bound that the selection may miss (1e-5 is 0.001%).",
        "Written by `python bench/curriculum.py`.",
        "",
        "## One selection (every rationale offers its last step, budget a tenth of their difficulty)",
        "",
        "| n | solver | CPU s | wall s | gap | selected |",
        "|---|---|---|---|---|---|",
    ]
    for n in SIZES:
        for solver in SOLVERS:
            if row := result.get("selection", {}).get(f"{n}/{solver}"):
                lines.append(
                    f"| {n:,} | {solver} | {row['cpu_s']:.3f} | {row['wall_s']:.3f} | {row['gap']:.1e} "
                    f"| {row['selected']:,} |"
                )
    lines += [
        "",
        "## The whole plan (20 epochs, T = 10)",
        "",
        "| n | solver | CPU s | wall s | largest gap of a stage | least reached / allowed | peak MB (of it input) |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in SIZES:
        for solver in SOLVERS:
            if row := result.get("plan", {}).get(f"{n}/{solver}"):
                lines.append(
                    f"| {n:,} | {solver} | {row['cpu_s']:.2f} | {row['wall_s']:.2f} | {row['gap']:.1e} "
                    f"| {row['reached']:.6f} | {row['peak_mb']:.0f} ({row['input_mb']:.0f}) |"
                )
    if grown := result.get("growth"):
        lines += ["", "## Growth of `structured`", "", "![growth](curriculum.png)", ""]
        lines += ["| n | selection CPU s | plan CPU s | plan CPU ns / (n log2 n) |", "|---|---|---|---|"]
        for n in GROWTH:
            one, all_ = grown[str(n)]["selection"]["cpu_s"], grown[str(n)]["plan"]["cpu_s"]
            lines.append(f"| {n:,} | {one:.3f} | {all_:.3f} | {all_ * 1e9 / (n * np.log2(n)):.0f} |")
    if row := result.get("steps"):
        lines += [
            "",
            "## Cutting into steps",
            "",
            f"{RATIONALES:,} made-up rationales of {row['characters'] / RATIONALES:.0f} characters, "
            f"{row['tokens'] / RATIONALES:.0f} tokens and {row['steps'] / RATIONALES:.1f} steps, byte-level BPE:",
            "",
            "| part | CPU s |",
            "|---|---|",
            f"| cut into steps (`kpod.steps.cutting.split`) | {row['split_cpu_s']:.1f} |",
            f"| tokenise and give every token its step (`kpod.text`) | {row['cpu_s'] - row['split_cpu_s']:.1f} |",
            f"| of that the tokenizer library alone, from a tenth of the texts | {row['library_cpu_s']:.1f} |",
            f"| **both** (goal: below 20) | **{row['cpu_s']:.1f}** |",
            "",
            f"Goal {'met' if row['cpu_s'] < 20 else 'missed'} in this run of {row['wall_s']:.0f} s wall time. Where",
            "that is far above the CPU seconds, the machine was busy with other work, which slows CPU seconds too.",
            f"Cutting and the library alone take {row['split_cpu_s'] + row['library_cpu_s']:.1f} s.",
        ]
    return "\n".join(lines) + "\n"


def plot(grown: Figures, path: Path) -> None:
    """CPU seconds against n, with n log n through the first point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = np.array(GROWTH)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for what, colour in (("selection", "#0072b2"), ("plan", "#d55e00")):
        seconds = np.array([grown[str(n)][what]["cpu_s"] for n in GROWTH])
        line = sizes * np.log(sizes)
        axes.loglog(
            sizes, seconds, "o-", color=colour, label={"selection": "one selection", "plan": "whole plan"}[what]
        )
        axes.loglog(
            sizes, seconds[-1] * line / line[-1], "--", color=colour, alpha=0.5, label="n log n through the last"
        )
    axes.set(xlabel="rationales n", ylabel="CPU seconds, one thread", title="Growth of the structured solver")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=["selection", "plan", "growth", "steps"])
    parser.add_argument("--solvers", nargs="+", default=SOLVERS, choices=SOLVERS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, n, solver = arguments.measure
        print(json.dumps(globals()[f"measure_{what}"](int(n), solver)))
        return
    result: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = machine()
    for what in ("selection", "plan"):
        for solver in arguments.solvers if what in arguments.only else ():
            for n in SIZES:
                result.setdefault(what, {})[f"{n}/{solver}"] = apart(what, n, solver)
    if "growth" in arguments.only:
        result["growth"] = {str(n): {what: apart(what, n) for what in ("selection", "plan")} for n in GROWTH}
    if "steps" in arguments.only:
        result["steps"] = apart("steps", RATIONALES)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    RESULT.with_suffix(".md").write_text(report(result))
    if "growth" in result:
        plot(result["growth"], RESULT.with_suffix(".png"))


if __name__ == "__main__":
    main()
