"""The picture of a sweep: every seed as a dot, the mean with its 95% interval, one panel a set of questions."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kpod.report.data import grouped
from kpod.report.style import colour, new_figure, styled
from kpod.sweep.table import PLACE, Row
from kpod.text.hygiene import label


def accuracy_by_variant(rows: Sequence[Row]) -> Figure:
    """Accuracy by variant with its 95% interval and a dot for each seed; a dashed line marks the reference."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    panels = grouped(rows, PLACE)
    several = len({name[:2] for name in panels}) > 1
    heights = [0.34 * len(panel) + 0.55 for panel in panels.values()]
    with styled():
        figure = new_figure(sum(heights) + 0.5)
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)
        for axes, (name, panel) in zip(grid[:, 0], panels.items(), strict=True):
            _panel(axes, panel, variants)
            title = f"{label(name[2], 24)}, {label(name[3], 12)}  (n = {panel[0].questions:,})"
            axes.set_title(f"{label(name[0], 16)}, {label(name[1], 16)}: {title}" if several else title)
        grid[-1, 0].set_xlabel("accuracy: seeds (dots), mean and 95% interval")
        grid[-1, 0].xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # no halves of a percent
        grid[-1, 0].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def _panel(axes: Axes, rows: Sequence[Row], variants: Sequence[str]) -> None:
    for y, row in enumerate(rows):
        shade = colour(variants.index(row.variant))
        error = [[max(0.0, row.accuracy - row.low)], [max(0.0, row.high - row.accuracy)]]
        axes.errorbar(row.accuracy, y, xerr=error, fmt="D", color=shade, markersize=6, elinewidth=1.6, capsize=3)
        axes.plot(row.by_seed, [y] * row.seeds, "o", color=shade, markersize=4, alpha=0.45)
        if row.difference is None:
            axes.axvline(row.accuracy, color="#555555", linestyle="--", linewidth=0.9)
    axes.set(ylim=(len(rows) - 0.45, -0.55))
    axes.set_yticks(range(len(rows)), [label(row.variant) for row in rows])
    axes.grid(axis="x", color="#DDDDDD")
