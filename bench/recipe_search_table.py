"""The table of bench/recipe_search.py: means over seeds, and paired differences to plain distillation."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
DRAWS = 4000


def write(rows: list[dict[str, Any]]) -> None:
    """Write bench/results/recipe_search.md: a table for each split and set."""
    head = f"# Settings of KPOD in the small world ({platform.machine()}, {os.cpu_count()} cores, no GPU)"
    parts = [head, "", "`python bench/recipe_search.py FOLDER`; equal target tokens for all but `kpod-paper`.", ""]
    for split in ("validation", "test"):
        sets = sorted({name for row in rows if row["split"] == split for name in row["right"]})
        for dataset in sets:
            parts += [f"## {split}: {dataset}", "", *table(rows, split, dataset), ""]
    text = "\n".join(parts)
    (RESULTS / "recipe_search.md").write_text(text)
    print(text)


def table(rows: list[dict[str, Any]], split: str, dataset: str) -> list[str]:
    """Markdown lines. Intervals: bootstrap over questions, and over seeds and questions together."""
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
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
