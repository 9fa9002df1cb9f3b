"""The table of bench/recipe_search.py: means over seeds, and paired differences to plain distillation."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paired

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "recipe_search.png"
KPOD = "pruned, floor 0.5"
SHOWN = {  # settings in the picture, and their names there
    "base": "before distillation",
    "scotd-1": "plain, one rationale",
    "scotd": "plain, six rationales",
    "floor 0.5 alone": "weights in the loss",
    "floor 0.5, T 0.25": "weights and curriculum",
    "pruned, floor 0.5, T 0.25": "weights, pruned, curriculum",
    "pruned": "pruned steps alone",
    KPOD: "weights, pruned steps (kpod)",
}


def write(rows: list[dict[str, Any]]) -> None:
    """Write bench/results/recipe_search.md: the tables of each split and set."""
    head = f"# Settings of KPOD in the small world ({platform.machine()}, {os.cpu_count()} cores, no GPU)"
    about = (
        "`python bench/recipe_search.py FOLDER`; equal target tokens for all but `kpod-paper`. (*): with the runs by\n"
        "single weights (a step went if none of its own tokens weighed 0.1) on seeds that have no other."
    )
    parts = [head, "", about, "", paired.ABOUT, ""]
    for split in ("validation", "test"):
        sets = sorted({name for row in rows if row["split"] == split for name in row["right"]})
        for dataset in sets:
            found = by_setting([row for row in rows if row["split"] == split and dataset in row["right"]])
            right = {name: {seed: row["right"][dataset] for seed, row in runs.items()} for name, runs in found.items()}
            parts += [f"## {split}: {dataset}", "", *table(found, right), ""]
            parts += ["The settings that leave out steps, against `kpod`:", "", *pruned(right), ""]
    draw(rows)
    text = "\n".join(parts)
    (RESULTS / "recipe_search.md").write_text(text)
    print(text)


def by_setting(rows: list[dict[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
    """Rows of one split by setting and seed, and those of `either` as settings of their own, marked (*)."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["seed"]] = row
    together = {f"{name} (*)": {row["seed"]: row for row in either(rows, name)} for name in found}
    return found | {name: runs for name, runs in together.items() if len(runs) > len(found[name.removesuffix(" (*)")])}


def table(found: dict[str, dict[int, dict[str, Any]]], right: Mapping[str, paired.Answers]) -> list[str]:
    """Markdown lines: every setting, the best first, and its difference from plain distillation."""
    lines = [
        f"| setting | right % by seed | mean | minus scotd | {' | '.join(paired.COLUMNS)} | tokens | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = sorted(found, key=lambda name: -np.mean([np.mean(answers) for answers in right[name].values()]))
    plain = right.get("scotd", {})
    compared = paired.cells([(right[name], plain) if name != "scotd" else None for name in order])
    for name, differences in zip(order, compared, strict=True):
        runs = found[name]
        shares = [100 * float(np.mean(right[name][seed])) for seed in sorted(runs)]
        cells = [name, ", ".join(f"{share:.1f}" for share in shares), f"{np.mean(shares):.1f}", *differences]
        for key in ("target_tokens", "cpu_seconds"):
            values = [row[key] for row in runs.values() if row[key]]
            cells.append(f"{np.mean(values):,.0f}" if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def pruned(right: Mapping[str, paired.Answers]) -> list[str]:
    """Markdown lines: differences of the settings that leave out steps from `kpod`, which is one of them."""
    names = sorted(name for name in right if name.startswith("pruned") and name != KPOD)
    compared = paired.cells([(right[name], right.get(KPOD, {})) for name in names])
    lines = [f"| setting | minus kpod | {' | '.join(paired.COLUMNS)} |", "|---|---|---|---|---|"]
    return lines + [f"| {' | '.join([name, *cells])} |" for name, cells in zip(names, compared, strict=True)]


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
