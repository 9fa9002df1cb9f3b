"""Pictures of results: accuracy with intervals, and loss over the tokens that a student was trained on."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kpod.distill.points import Point, best
from kpod.evaluate.accuracy import Accuracy
from kpod.report.data import grouped
from kpod.report.style import colour, new_figure, plot, styled
from kpod.text.hygiene import label


def accuracy_bars(rows: Sequence[Accuracy]) -> Figure:
    """Accuracy by method with its 95% interval, one panel a dataset and split."""
    methods = list(dict.fromkeys(row.method for row in rows))
    panels = grouped(rows, attrgetter("dataset", "split"))
    heights = [0.34 * len(panel) + 0.55 for panel in panels.values()]
    with styled():
        figure = new_figure(sum(heights) + 0.5)
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)
        for axes, (name, panel) in zip(grid[:, 0], panels.items(), strict=True):
            _bars(axes, panel, methods)
            axes.set_title(f"{label(name[0], 20)}, {label(name[1], 12)}  (n = {panel[0].questions:,})")
        grid[-1, 0].set_xlabel("accuracy, 95% interval")
    return figure


def _bars(axes: Axes, rows: Sequence[Accuracy], methods: Sequence[str]) -> None:
    y = np.arange(len(rows))
    values = np.array([row.accuracy for row in rows])
    low, high = np.array([row.low for row in rows]), np.array([row.high for row in rows])
    colours = [colour(methods.index(row.method)) for row in rows]
    axes.barh(y, values, 0.62, color=colours, alpha=0.75)
    error = [np.maximum(0, values - low), np.maximum(0, high - values)]
    axes.errorbar(values, y, xerr=error, fmt="none", ecolor="#111111", elinewidth=1.4, capsize=3)
    for position, row in zip(y, rows, strict=True):
        axes.text(
            max(row.high, row.accuracy) + 0.015, float(position), f"{100 * row.accuracy:.1f}", va="center", fontsize=9.5
        )
    axes.set(xlim=(0, 1.12), ylim=(len(rows) - 0.45, -0.55))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(y, [label(row.method) for row in rows])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x", color="#DDDDDD")


def learning_curves(histories: Mapping[str, pa.Table], methods: Sequence[str] = ()) -> Figure:
    """Running mean of the loss over target tokens, by method (schemas.HISTORY); single steps too for up to 4 methods.

    `methods` sets the order of colours, so that a method has one colour in all pictures of a report.
    """
    order = list(dict.fromkeys([*methods, *histories]))
    longest = max((len(label(method)) for method in histories), default=1)
    columns = max(1, min(3, 45 // longest))
    with plot(3.2 + 0.22 * -(-len(histories) // columns)) as (figure, axes):
        for method, history in histories.items():
            index = order.index(method)
            tokens, loss = history["tokens"].to_numpy(), history["loss"].to_numpy()
            window = max(1, len(loss) // 25)
            if window > 1 and len(histories) <= 4:
                axes.plot(tokens, loss, color=colour(index), alpha=0.2, linewidth=0.8)
            style = "-" if index < 8 else "--"
            axes.plot(tokens, running_mean(loss, window), style, color=colour(index), linewidth=2, label=label(method))
        axes.set(title="Loss while distilling", xlabel="target tokens seen", ylabel="loss a target token (nats)")
        axes.xaxis.set_major_formatter(_thousands)
        axes.grid(color="#DDDDDD")
        figure.legend(loc="outside lower center", ncols=columns)
    return figure


def validation_curves(validations: Mapping[str, Sequence[Point]], methods: Sequence[str] = ()) -> Figure:
    """Validation accuracy after each epoch over target tokens, by method; a ring marks the epoch that was kept."""
    order = list(dict.fromkeys([*methods, *validations]))
    with plot(3.2) as (figure, axes):
        for method, validated in validations.items():
            index = order.index(method)
            tokens, share = [point.tokens for point in validated], [point.accuracy for point in validated]
            axes.plot(tokens, share, "o-", color=colour(index), linewidth=2, markersize=4, label=label(method))
            kept = best(validated)
            axes.plot(kept.tokens, kept.accuracy, "o", color=colour(index), markersize=11, fillstyle="none")
        axes.set(title="Right answers while distilling", xlabel="target tokens seen", ylabel="validation accuracy")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(_thousands)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color="#DDDDDD")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values at each position, float [n], of fewer at the beginning; NaN is ignored."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    stop = np.arange(1, len(values) + 1)
    begin = np.maximum(0, stop - window)
    count = counts[stop] - counts[begin]
    return np.where(count > 0, (sums[stop] - sums[begin]) / np.maximum(count, 1), np.nan)


def _thousands(value: float, _: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
