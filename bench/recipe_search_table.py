"""The table of bench/recipe_search.py: means over seeds, and paired differences to plain distillation."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "recipe_search.png"
DRAWS = 4000
SHOWN = {  # settings in the picture, and their names there
    "base": "before distillation",
    "scotd-1": "plain, one rationale",
    "scotd": "plain, six rationales",
    "floor 0.5 alone": "weights in the loss",
    "floor 0.5, T 0.25": "weights and curriculum",
    "pruned, floor 0.5, T 0.25": "weights, pruned, curriculum",
    "pruned": "pruned steps alone",
    "pruned, floor 0.5": "weights, pruned steps (kpod)",
}


def write(rows: list[dict[str, Any]]) -> None:
    """Write bench/results/recipe_search.md: a table for each split and set."""
    head = f"# Settings of KPOD in the small world ({platform.machine()}, {os.cpu_count()} cores, no GPU)"
    about = (
        "`python bench/recipe_search.py FOLDER`; equal target tokens for all but `kpod-paper`. (*): with the runs by\n"
        "single weights (a step went if none of its own tokens weighed 0.1) on seeds that have no other."
    )
    parts = [head, "", about, ""]
    for split in ("validation", "test"):
        sets = sorted({name for row in rows if row["split"] == split for name in row["right"]})
        for dataset in sets:
            parts += [f"## {split}: {dataset}", "", *table(rows, split, dataset), ""]
    draw(rows)
    text = "\n".join(parts)
    (RESULTS / "recipe_search.md").write_text(text)
    print(text)


def table(rows: list[dict[str, Any]], split: str, dataset: str) -> list[str]:
    """Markdown lines. Intervals: bootstrap over questions, and over seeds and questions together."""
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    some = {row["name"] for row in rows}
    together = [
        {**row, "name": f"{name} (*)"}
        for name in some
        if len(both := either(rows, name)) > sum(row["name"] == name for row in rows)
        for row in both
    ]
    for row in rows + together:
        if row["split"] == split and dataset in row["right"]:
            by_name.setdefault(row["name"], {})[row["seed"]] = row
    lines = [
        "| setting | right % by seed | mean | minus scotd | 95% questions | 95% seeds and questions | tokens | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plain = by_name.get("scotd", {})
    order = sorted(by_name, key=lambda name: -np.mean([np.mean(r["right"][dataset]) for r in by_name[name].values()]))
    for name in order:
        found = by_name[name]
        shares = {seed: 100 * float(np.mean(row["right"][dataset])) for seed, row in sorted(found.items())}
        cells = [name, ", ".join(f"{share:.1f}" for share in shares.values()), f"{np.mean(list(shares.values())):.1f}"]
        both = sorted(found.keys() & plain.keys())
        if name == "scotd" or not both:
            cells += ["", "", ""]
        else:
            gaps = 100.0 * np.array([np.subtract(found[s]["right"][dataset], plain[s]["right"][dataset]) for s in both])
            cells += [f"{gaps.mean():+.1f}", *_intervals(gaps)]
        for key, digits in (("target_tokens", 0), ("cpu_seconds", 0)):
            values = [row[key] for row in found.values() if row[key]]
            cells.append(f"{np.mean(values):,.{digits}f}" if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def either(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The rows of a setting; of `pruned` ones also those by single weights, on seeds that have no other."""
    own = [row for row in rows if row["name"] == name]
    there = {(row["seed"], row["split"]) for row in own}
    former = [row for row in rows if row["name"] == name.replace("pruned", "pruned by single weights") != name]
    return own + [{**row, "name": name} for row in former if (row["seed"], row["split"]) not in there]


def draw(rows: list[dict[str, Any]]) -> None:
    """The picture docs/images/recipe_search.png: SHOWN settings on validation, a dot a seed and a bar at the mean."""
    from matplotlib.ticker import PercentFormatter

    from kpod.report.style import colour, new_figure, styled

    found = [[row for row in either(rows, name) if row["split"] == "validation"] for name in SHOWN]
    with styled():
        figure = new_figure(0.42 * len(SHOWN) + 0.7)
        axes = figure.subplots()
        for y, runs in enumerate(found):
            shares = [float(np.mean(row["right"]["wordproblems"])) for row in runs]
            axes.plot(shares, [y] * len(shares), "o", color=colour(0), alpha=0.5, markersize=5)
            axes.plot([np.mean(shares)], [y], "|", color=colour(1), markersize=16, markeredgewidth=2.5)
        axes.set_yticks(range(len(SHOWN)), list(SHOWN.values()))
        axes.set(ylim=(len(SHOWN) - 0.5, -0.5), xlim=(0, 1), xlabel="right in validation, by seed (bar: mean)")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="x", color="#DDDDDD")
        figure.savefig(PICTURE)


def _intervals(gaps: np.ndarray) -> Iterator[str]:
    """95% intervals of the mean of [seeds, questions]: questions drawn anew, then seeds and questions."""
    rng = np.random.default_rng(0)
    seeds, questions = gaps.shape
    for over_seeds in (False, True):
        means = []
        for _ in range(DRAWS):
            drawn = gaps[rng.integers(0, seeds, seeds)] if over_seeds else gaps
            means.append(drawn[:, rng.integers(0, questions, questions)].mean())
        low, high = np.percentile(means, [2.5, 97.5])
        yield f"{low:+.1f} to {high:+.1f}"
