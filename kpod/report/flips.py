"""The picture of a paired comparison: flips on each set, and accuracy by the number of steps."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kpod.evaluate.compare import Comparison
from kpod.report.style import PALETTE, new_figure, styled
from kpod.text.hygiene import label

Steps = Mapping[str, Mapping[str, Any]]  # number of steps -> Accuracy as metrics.json holds it


def flips_figure(comparison: Comparison, steps_a: Steps, steps_b: Steps) -> Figure:
    """One bar a set, divided into both right, only A, only B and neither; below, A and B by number of steps."""
    shared = [count for count in steps_a if count in steps_b]
    bars = 0.45 * len(comparison.sets) + 1.0
    with styled():
        figure = new_figure(bars + (2.6 if shared else 0.0) + 0.4)
        heights = [bars, 2.6] if shared else [bars]
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        _bars(grid[0, 0], comparison)
        if shared:
            _by_steps(grid[1, 0], shared, steps_a, steps_b)
    return figure


def _bars(axes: Axes, comparison: Comparison) -> None:
    names = ("both right", "only A right", "only B right", "neither")
    colours = (PALETTE[6], PALETTE[0], PALETTE[1], "#DDDDDD")
    for y, row in enumerate(comparison.sets):
        only_a, only_b = len(row.only_a), len(row.only_b)
        both = row.correct_a - only_a
        left = 0.0
        for name, shade, count in zip(
            names, colours, (both, only_a, only_b, row.questions - both - only_a - only_b), strict=True
        ):
            share = count / row.questions
            axes.barh(y, share, 0.6, left=left, color=shade, label=name if y == 0 else None)
            if share > 0.04:
                dark = shade != "#DDDDDD"
                axes.text(
                    left + share / 2, y, f"{count:,}", ha="center", va="center", color="white" if dark else "black"
                )
            left += share
    axes.set(xlim=(0, 1), ylim=(len(comparison.sets) - 0.5, -0.5), title="Who is right")
    axes.set_yticks(range(len(comparison.sets)), [label(f"{row.dataset} {row.split}", 24) for row in comparison.sets])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.35), ncols=4, handlelength=1, columnspacing=1)


def _by_steps(axes: Axes, shared: list[str], steps_a: Steps, steps_b: Steps) -> None:
    for name, steps, shade, shift in (("A", steps_a, PALETTE[0], -0.06), ("B", steps_b, PALETTE[1], 0.06)):
        rows = [steps[count] for count in shared]
        values = [row["accuracy"] for row in rows]
        error = [
            [max(0.0, row["accuracy"] - row["low"]) for row in rows],
            [max(0.0, row["high"] - row["accuracy"]) for row in rows],
        ]
        places = [index + shift for index in range(len(shared))]
        axes.errorbar(places, values, yerr=error, fmt="o-", color=shade, capsize=3, label=name)
    axes.set_xticks(range(len(shared)), [f"{count}\nn = {steps_a[count]['questions']:,}" for count in shared])
    axes.set(title="Accuracy by number of steps, 95% interval", xlim=(-0.5, len(shared) - 0.5), ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend()
