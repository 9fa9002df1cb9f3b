"""Validation accuracy after each epoch, over target tokens: plain distillation on one and on six rationales, and kpod.

    python bench/learning_curve.py FOLDER --seeds 0,1,2     # FOLDER as in recipe_search.py, whose stages it shares
    python bench/learning_curve.py --draw

Writes bench/results/learning_curve.json, right answers of QUESTIONS validation questions after each epoch, and the
picture docs/images/learning_curve.png: means over seeds, and bands from the least to the most of the seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from recipe_search import SETTINGS, World

RESULT = Path(__file__).parent / "results" / "learning_curve.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "learning_curve.png"
QUESTIONS = 200
METHODS = {  # settings of recipe_search.py, and their names in the picture
    "scotd-1": "plain, one rationale a question",
    "scotd": "plain, six",
    "pruned, floor 0.5": "kpod, six",
}


def recorded() -> list[dict[str, Any]]:
    return json.loads(RESULT.read_text()) if RESULT.is_file() else []


def measure(world: World, name: str) -> None:
    """Train a watched student and add its curve to the results; one that is there is left alone."""
    if any((row["name"], row["seed"]) == (name, world.seed) for row in recorded()):
        return
    method, changes, source = SETTINGS[name]
    watch = {"questions": QUESTIONS, "max_new_tokens": 160, "batch_size": 128}
    SETTINGS[f"{name}, watched"] = (method, {**changes, "distill.validation": watch}, source)
    folder, _, _ = world.student(f"{name}, watched", "test")
    points = json.loads((folder / "validation.json").read_text())
    row = {"name": name, "seed": world.seed, "questions": QUESTIONS}
    row |= {key: [point[key] for point in points] for key in ("tokens", "right")}
    RESULT.write_text(json.dumps([*recorded(), row], indent=1) + "\n")
    print(world.seed, name, row["right"], flush=True)


def draw() -> None:
    from matplotlib.ticker import PercentFormatter

    from kpod.report.style import colour, plot

    with plot(3.2) as (figure, axes):
        for place, (name, words) in enumerate(METHODS.items()):
            rows = [row for row in recorded() if row["name"] == name]
            if not rows:
                continue
            # Seeds end their epochs at slightly different tokens: read each curve at the same places.
            grid = np.linspace(max(row["tokens"][0] for row in rows), min(row["tokens"][-1] for row in rows), 50)
            curves = np.array([np.interp(grid, row["tokens"], np.divide(row["right"], QUESTIONS)) for row in rows])
            axes.plot(grid / 1000, curves.mean(axis=0), color=colour(place), label=f"{words} ({len(rows)} seeds)")
            axes.fill_between(grid / 1000, curves.min(axis=0), curves.max(axis=0), color=colour(place), alpha=0.2, lw=0)
        axes.set(xlabel="target tokens trained on, thousands", ylabel="validation questions right", xlim=(0, None))
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper left")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    for seed in [] if options.draw else options.seeds.split(","):
        for name in METHODS:
            measure(World(options.folder, int(seed)), name)
    draw()


if __name__ == "__main__":
    main()
