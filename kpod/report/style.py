"""The style of pictures: one palette, one font, and bytes that depend only on the data."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kpod.store.files import atomic

# Okabe and Ito's colours, distinct under the common forms of colour blindness; the palest two come last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#B8A900")
SEQUENTIAL = "cividis"
WIDTH = 5.2  # inches: text stays readable when a phone shrinks the picture to its width
DPI = 200
SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"  # both ship inside matplotlib

_STYLE: dict[Any, Any] = {
    "font.family": SANS,
    "font.size": 10.5,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "axes.formatter.limits": (-4, 6),
    "axes.prop_cycle": cycler(color=PALETTE),
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the report's style inside the block, whatever matplotlibrc or the caller has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(height: float, width: float = WIDTH, **options: Any) -> Figure:
    """An empty figure (height and width in inches) on the Agg canvas, outside pyplot and its global state."""
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure = Figure(figsize=(width, height), **{"layout": layout, **options})
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def plot(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes, drawn inside the block in the report's style."""
    with styled():
        figure = new_figure(height)
        yield figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes without date or software version."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def write_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(png(figure))


def data_uri(figure: Figure) -> str:
    """The figure as a `data:` URI for an `<img>`."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")


def colour(index: int) -> str:
    """The palette's colour for the series `index`; it repeats after eight."""
    return PALETTE[index % len(PALETTE)]
