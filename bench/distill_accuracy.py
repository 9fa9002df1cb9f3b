"""CPU time and target tokens to a validation accuracy: kpod against scotd on generated word problems.

    python bench/distill_accuracy.py [--recipe demo] [--epochs 20] [--seeds 0 1 2]

After each epoch the student answers the validation questions; neither that time nor the curriculum's stages before are
counted. The accuracy to reach is the best that both methods reach with that seed, rounded down to whole questions.
Writes results/distill_accuracy.json and .md.
"""

import argparse
import datetime
import json
import platform
import statistics
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from kpod import schemas
from kpod.config import Pipeline
from kpod.config.settings import load
from kpod.config.variants import apply
from kpod.evaluate import answers_equal, extract_answer
from kpod.evaluate.generate import generate
from kpod.evaluate.statistics import mcnemar_exact
from kpod.methods import Objective
from kpod.run.stages import STAGES
from kpod.store.keys import stage_key
from kpod.training.models import load as load_model

HERE = Path(__file__).parent
METHODS = ("scotd", "kpod")


def folder_of(name: str, config: Pipeline, work: Path) -> Path:
    """What the stage wrote under `work`, computed on first use; seeds share what does not depend on them."""
    stage = STAGES[name]
    inputs = {need: folder_of(need, config, work) for need in stage.needs(config)}
    key = stage_key(name, stage.config(config), {need: path.name for need, path in inputs.items()}, code_version="")
    out = work / f"{name}-{key[:12]}"
    if not out.with_suffix(".done").exists():
        out.mkdir(parents=True, exist_ok=True)
        import_module(stage.module).run(inputs, stage.config(config), out)
        out.with_suffix(".done").touch()
    return out


class Curve:
    """Accuracy on the validation questions after each epoch, with the CPU seconds of training until then."""

    def __init__(self, base: Path, questions: list[dict[str, Any]], config: Pipeline) -> None:
        self.tokenizer = load_model(base / "student")[1]
        self.questions, self.config = questions, config
        self.points: list[dict[str, Any]] = []
        self.began, self.watching = time.process_time(), 0.0

    def after(self, epoch: int, passes: Any, last: bool) -> dict[str, float]:
        started = time.process_time()
        passes.model.eval()
        asked = [(row["id"], row["question"], row["choices"]) for row in self.questions]
        settings = self.config.evaluate
        with tempfile.TemporaryDirectory() as work:
            told = generate(
                passes.model, self.tokenizer, asked, settings.batch_size, settings.max_new_tokens, Path(work)
            )
        passes.model.train()
        right = [
            answers_equal(extract_answer(told[row["id"]].text, row["choices"]), row["answer"]) for row in self.questions
        ]
        seconds = started - self.began - self.watching
        verdicts = "".join("01"[verdict] for verdict in right)  # in the order of the questions
        self.points.append({"epoch": epoch, "right": sum(right), "cpu_seconds": seconds, "verdicts": verdicts})
        self.watching += time.process_time() - started
        return {}


def curve(config: Pipeline, work: Path, method: str) -> list[dict[str, Any]]:
    """One training run, watched."""
    made = apply(config, method)
    stage = STAGES["distill"]
    inputs = {need: folder_of(need, made, work) for need in stage.needs(made)}
    table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS).to_pylist()
    watched = Curve(inputs["base"], [row for row in table if row["split"] == "validation"], made)
    plain = Objective.after
    Objective.after = lambda objective, epoch, passes, last: watched.after(epoch, passes, last)  # type: ignore
    try:
        with tempfile.TemporaryDirectory() as out:
            import_module(stage.module).run(inputs, stage.config(made), Path(out))
            history = schemas.read(Path(out) / "history.parquet", schemas.HISTORY).to_pylist()
    finally:
        Objective.after = plain  # type: ignore[method-assign]
    tokens = {row["epoch"]: row["tokens"] for row in history}
    return [{**point, "target_tokens": tokens[int(point["epoch"])]} for point in watched.points]


def reached(points: list[dict[str, Any]], right: float) -> dict[str, Any]:
    return next(point for point in points if point["right"] >= right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    result: dict[str, Any] = {"recipe": options.recipe, "epochs": options.epochs, "overrides": options.overrides}
    result |= {"machine": platform.machine(), "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat()}
    result["seeds"] = {}
    with tempfile.TemporaryDirectory() as work:
        for seed in options.seeds:
            # Questions, teacher and base stay; what is random in the pipeline's own work changes.
            seeds = [f"{stage}.seed={seed}" for stage in ("weights", "curriculum", "distill")]
            config = load(options.recipe, [f"distill.budget={{epochs: {options.epochs}}}", *seeds, *options.overrides])
            curves = {method: curve(config, Path(work), method) for method in METHODS}
            goal = min(max(point["right"] for point in points) for points in curves.values())
            result["seeds"][seed] = {"curves": curves, "goal": goal}
            print(seed, goal, {method: reached(points, goal) for method, points in curves.items()}, flush=True)
            write(result)


def write(result: dict[str, Any]) -> None:
    lines = [
        f"Recipe {result['recipe']} {' '.join(result['overrides'])}, {result['epochs']} epochs, {result['machine']},"
        f" {result['date']}. Made by `python bench/distill_accuracy.py`.",
        "",
        "| seed | right answers to reach | method | epoch | target tokens | CPU seconds | best |",
        "|---|---|---|---|---|---|---|",
    ]
    last: list[str] = []
    ratios: dict[str, list[float]] = {"target_tokens": [], "cpu_seconds": []}
    for seed, found in result["seeds"].items():
        there = {method: reached(points, found["goal"]) for method, points in found["curves"].items()}
        for method, point in there.items():
            best = max(one["right"] for one in found["curves"][method])
            lines.append(
                f"| {seed} | {found['goal']} | {method} | {int(point['epoch']) + 1} | {point['target_tokens']:,}"
                f" | {point['cpu_seconds']:.0f} | {best} |"
            )
        a, b = (np.array(list(found["curves"][method][-1]["verdicts"])) == "1" for method in METHODS)
        last.append(
            f"{a.sum()} and {b.sum()} of {len(a)} (p = {mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum())):.2g})"
        )
        for name, values in ratios.items():
            values.append(there["kpod"][name] / there["scotd"][name])
    result["kpod_to_scotd"] = {name: statistics.median(values) for name, values in ratios.items()}
    told = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in result["kpod_to_scotd"].items())
    lines += ["", f"kpod to scotd, median of the seeds (below 1: kpod gets there with less): {told}."]
    lines += ["", f"Right after the last epoch, {' and '.join(METHODS)}, exact McNemar: {'; '.join(last)}."]
    (HERE / "results" / "distill_accuracy.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results" / "distill_accuracy.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
