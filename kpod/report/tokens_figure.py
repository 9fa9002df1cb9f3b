"""The token view as a picture: a fixed-width font makes the layout exact without measuring text."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kpod.report.style import MONO, new_figure, styled
from kpod.report.token_views import TokenView
from kpod.text.hygiene import clean, drawable

# The page lays #D55E00 over its background at up to 75%; these are the same shades on white.
SHADES = LinearSegmentedColormap.from_list("weight", ["#FFFFFF", "#E08640"])
_COLUMNS, _LINES = 78, 14
_SOFT = "#59616B"  # of text that is left out, as on the page
_Part = tuple[str, float, bool]  # text, shade, and whether its step is left out
_CELL, _LINE, _MARGIN = 6.02, 15.0, 16.0  # points; DejaVu Sans Mono is 0.602 em wide, set at 10 points


def token_figure(views: list[TokenView], low: float, high: float) -> Figure:
    """A picture of rationales under their questions, with a scale from weight `low` to `high`."""
    blocks = [(_heading(view), _lines(view)) for view in views]
    rows = sum(len(head) + len(lines) + 1.2 for head, lines in blocks) + 1.6
    width, height = _COLUMNS * _CELL + 2 * _MARGIN, rows * _LINE + 2 * _MARGIN
    with styled():
        figure = new_figure(height / 72, width / 72, layout="none")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        y = _MARGIN + _LINE / 2
        y = _scale(axes, y, low, high, any(token.left_out for view in views for token in view.tokens))
        for head, lines in blocks:
            for index, line in enumerate(head):
                weight = "bold" if index < len(head) - 1 else "normal"
                _write(axes, _MARGIN, y, line, weight)
                y += _LINE
            for tokens in lines:
                _tokens(axes, y, tokens)
                y += _LINE
            y += 1.2 * _LINE
    return figure


def _heading(view: TokenView) -> list[str]:
    wrapped = textwrap.wrap(drawable(view.question, MONO), _COLUMNS, max_lines=4, placeholder=" …") or ["(empty)"]
    taught = "" if view.correct else f"   teacher: {view.taught or 'no answer'}"
    return [*wrapped, textwrap.shorten(drawable(f"gold: {view.answer}{taught}", MONO), _COLUMNS, placeholder=" …")]


def _lines(view: TokenView) -> list[list[_Part]]:
    """Break tokens into lines of at most _COLUMNS characters, at token ends where a token fits a line."""
    lines: list[list[_Part]] = [[]]
    used = 0
    for token in view.tokens:
        for index, part in enumerate(clean(token.text).replace("\t", " ").split("\n")):
            if index:
                lines.append([])
                used = 0
            for piece in textwrap.wrap(part, _COLUMNS, drop_whitespace=False) or [""]:
                if used + len(piece) > _COLUMNS:
                    lines.append([])
                    used = 0
                shown = "".join(drawable(c, MONO) or " " for c in piece)
                lines[-1].append((shown, token.shade, token.left_out))
                used += len(shown)
    lines = [line for line in lines if any(text.strip() for text, *_ in line)]
    return lines if len(lines) <= _LINES else [*lines[:_LINES], [("…", 0.0, False)]]


def _tokens(axes: Axes, y: float, line: list[_Part]) -> None:
    x = _MARGIN
    for text, shade, left_out in line:
        width = len(text) * _CELL
        if left_out:
            _strike(axes, x, y, text)
        else:
            box = Rectangle((x, y - _LINE / 2 + 0.5), width, _LINE - 1, facecolor=SHADES(shade), edgecolor="none")
            axes.add_patch(box)
            _write(axes, x, y, text)
        x += width


def _write(axes: Axes, x: float, y: float, text: str, weight: str = "normal", color: str = "#111111") -> None:
    axes.text(x, y, text, family=MONO, fontsize=10, weight=weight, va="center_baseline", color=color)


def _strike(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a text greyed and struck through."""
    _write(axes, x, y, text, color=_SOFT)
    axes.add_patch(Rectangle((x, y - 0.4), len(text) * _CELL, 0.8, facecolor=_SOFT, edgecolor="none"))


def _scale(axes: Axes, y: float, low: float, high: float, left_out: bool) -> float:
    _write(axes, _MARGIN, y, f"weight {low:.2f}")
    x = _MARGIN + 12 * _CELL
    for i in range(40):
        axes.add_patch(Rectangle((x + 3 * i, y - 5), 3.2, 10, facecolor=SHADES(i / 39), edgecolor="none"))
    _write(axes, x + 126, y, f"{high:.2f}")
    if left_out:
        _strike(axes, x + 126 + 7 * _CELL, y, "left out: no keypoint")
    return y + 1.6 * _LINE
