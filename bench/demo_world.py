"""What each part of the demo's world and training brings: the stages as plain functions, three seeds, one core.

    python bench/demo_world.py --work DIR [--parts demo layers ...] [--seeds 0 1 2]

A part is the demo with other settings. A seed is that of questions, student, teacher and training alike. Finished
stages are kept in DIR by their content key, so a study that was stopped goes on. Writes bench/results/demo_world.json
and .md; with --table the page alone is written again.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import paired
from stage_folders import computed

RESULTS = Path(__file__).parent / "results" / "demo_world"
SETS = ("wordproblems", "wordproblems-longer", "wordproblems-harder")
MIXED = [
    "questions.sources.0.family=mixed", "student.family=mixed",
    "questions.sources.0.longer=0", "questions.sources.0.harder=0",
]  # fmt: skip
FEW = ["questions.sources.0.train=300", "distill.budget.epochs=27"]  # as many rows
PLAIN = ["teacher.endpoint.wordings=1", "teacher.endpoint.phrases=0"]
BEFORE = [*PLAIN, "teacher.endpoint.filler=0.7"]
# name -> (what is changed, in words; method; settings)
PARTS: dict[str, tuple[str, str, list[str]]] = {
    "base": ("before distillation", "base", []),
    "demo": ("plain distillation as in the demo", "scotd", []),
    "kpod": ("kpod as in the demo", "kpod", []),
    "kpod-epochs": ("kpod for 8 epochs of its own, so fewer target tokens", "kpod", ["distill.budget.of=null"]),
    "longer": ("plain distillation for 10 epochs, so more target tokens", "scotd", ["distill.budget.epochs=10"]),
    "double": ("plain distillation for 16 epochs, so twice the target tokens", "scotd", ["distill.budget.epochs=16"]),
    "kpod-double": ("kpod at twice the target tokens", "kpod", ["distill.budget.epochs=16"]),
    "one": ("one rationale a question, not six", "scotd-1", []),
    "three": ("three rationales a question, not six", "scotd", ["distill.samples=3"]),
    "few": ("300 questions, not 1,000, in 27 epochs, not 8", "scotd", FEW),
    "layers": ("2 layers, not 3", "scotd", ["student.layers=2"]),
    "few-one": ("300 questions, 27 epochs, one rationale a question", "scotd-1", FEW),
    "batch": ("batches of 16, not 8", "scotd", ["distill.batch_size=16"]),
    "lr": ("learning rate 1e-3, not 2e-3", "scotd", ["distill.lr=1.0e-3"]),
    "drills": ("6,000 rows of sums, not 500", "scotd", ["student.drills=6000"]),
    "order": ("comparisons, closings, any order: the family mixed", "scotd", MIXED),
    "wordings": ("one wording of a step, no phrases", "scotd", PLAIN),
    "before": (
        "all of it as before: mixed, one wording, 2 layers, 360 questions, 10 epochs, batches of 16, 1e-3",
        "scotd-1",
        [*MIXED, *BEFORE, "student.layers=2", "student.drills=6000", "questions.sources.0.train=360",
         "distill.batch_size=16", "distill.lr=1.0e-3", "distill.budget.epochs=10"],
    ),
}  # fmt: skip
ALSO = [("kpod", "longer"), ("kpod-double", "double")]  # compared with each other


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        for part in options.parts:
            measure(part, seed, options.work)
    RESULTS.with_suffix(".md").write_text(page(rows()))


def rows() -> list[dict[str, Any]]:
    path = RESULTS.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else []


def measure(part: str, seed: int, work: Path) -> None:
    """Make and ask the student of a part, and add a row to the results; a row that is there is left alone."""
    import torch

    from kpod.config.settings import load
    from kpod.config.variants import apply

    if any((row["part"], row["seed"]) == (part, seed) for row in rows()):
        return
    torch.set_num_threads(1)
    _, method, changes = PARTS[part]
    seeds = [f"{key}.seed={seed}" for key in ("questions.sources.0", "student", "teacher.endpoint", "distill")]
    config = apply(load("demo", [*seeds, *changes]), method)
    folder, seconds = result("evaluate", config, method, work)
    from kpod import schemas

    told = schemas.read(folder / "predictions.parquet", schemas.PREDICTIONS).to_pylist()
    right = {name: "".join(str(int(r["correct"])) for r in told if r["dataset"] == name) for name in SETS}
    row = {"part": part, "seed": seed, "settings": changes, "method": method, "cpu_seconds": seconds, "right": right}
    row["date"], row["machine"] = f"{datetime.now(UTC):%Y-%m-%d}", f"{platform.machine()}, one core of {os.cpu_count()}"
    RESULTS.with_suffix(".json").write_text(json.dumps([*rows(), row], indent=1) + "\n")
    print(part, seed, {name: round(share(bits), 3) for name, bits in right.items() if bits}, seconds, flush=True)


def result(name: str, config: Any, method: str, work: Path) -> tuple[Path, dict[str, float]]:
    """The folder of a stage, computed unless `work` holds it, and CPU seconds of each stage on the way to it."""
    from kpod.run.stages import STAGES
    from kpod.store.files import sha256_tree
    from kpod.store.keys import stage_key

    stage = STAGES[name]
    inputs: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    for need in stage.needs(config):
        source = need if need != "student" else "base" if method == "base" else "distill"
        inputs[need], spent = result(source, config, method, work)
        seconds |= spent
    key = stage_key(name, stage.config(config), {need: sha256_tree(path) for need, path in inputs.items()}, "")
    folder = work / f"{name}-{key[:16]}"
    figures = computed(name, stage.config(config), inputs, folder, folder.with_suffix(".json"))
    return folder, seconds | {name: round(figures["cpu_seconds"], 1)}


def share(bits: str) -> float:
    return bits.count("1") / len(bits)


def page(found: Sequence[dict[str, Any]]) -> str:
    """The tables: each part with the accuracy by seed, the mean and the difference to the demo's plain distillation,
    and the differences of ALSO."""
    by_part: dict[str, dict[int, dict[str, Any]]] = {}
    for row in sorted(found, key=lambda row: row["seed"]):
        by_part.setdefault(row["part"], {})[row["seed"]] = row
    right = {
        part: {seed: [int(bit) for bit in row["right"][SETS[0]]] for seed, row in runs.items()}
        for part, runs in by_part.items()
    }
    demo = by_part.get("demo", {})
    size = {name: len(next(iter(demo.values()))["right"][name]) if demo else 0 for name in SETS}
    where = f" ({found[0]['date']}, {found[0]['machine']})" if found else ""
    lines = [
        f"# What the parts of the demo bring{where}",
        "",
        "`python bench/demo_world.py --work DIR`",
        "",
        "Each row is the demo with one thing changed, at the demo's target tokens; plain distillation (`scotd`) unless",
        f"it names another method. {', '.join(f'{count} of {name}' for name, count in size.items())} are asked.",
        "A seed is that of questions, student, teacher and training. The difference is that of the first set to the",
        "demo's plain distillation.",
        "",
        paired.ABOUT,
        "",
        f"| changed | accuracy, by seed | mean | difference | {' | '.join(paired.COLUMNS)} | longer | harder "
        "| CPU s, base + weights + distillation |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    parts = [part for part in PARTS if part in by_part]
    compared = paired.cells([(right[part], right.get("demo", {})) if part != "demo" else None for part in parts])
    lines += [_line(part, by_part[part], cells) for part, cells in zip(parts, compared, strict=True)]
    pairs = [pair for pair in ALSO if right.keys() >= set(pair)]
    lines += ["", f"| also compared | difference | {' | '.join(paired.COLUMNS)} |", "|---|---|---|---|---|"]
    for (part, other), cells in zip(pairs, paired.cells([(right[a], right[b]) for a, b in pairs]), strict=True):
        lines.append(f"| {' | '.join([f'{PARTS[part][0]}, against {PARTS[other][0]}', *cells])} |")
    if missing := [words for part, (words, *_) in PARTS.items() if part not in by_part]:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _line(part: str, runs: dict[int, dict[str, Any]], compared: Sequence[str]) -> str:
    words, method, _ = PARTS[part]
    first, longer, harder = (
        [share(run["right"][name]) for run in runs.values() if run["right"][name]] for name in SETS
    )
    spent = [
        np.mean([run["cpu_seconds"].get(stage, 0) for run in runs.values()]) for stage in ("base", "weights", "distill")
    ]
    shown = [
        words if method in ("scotd", "base") else f"{words} (`{method}`)",
        ", ".join(f"{100 * x:.1f}" for x in first), _mean(first), *compared, _mean(longer), _mean(harder),
        " + ".join(f"{seconds:.0f}" for seconds in spent),
    ]  # fmt: skip
    return f"| {' | '.join(shown)} |"


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.1f}%" if shares else ""


if __name__ == "__main__":
    main()
