"""What a person sees of a run: one live display in a terminal, plain lines where the output goes elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from kpod.observe import Display, observing

LINE_SECONDS = 30.0  # between two lines of progress where no display is live
CACHED = "cached"


@contextmanager
def displayed(quiet: bool = False) -> Iterator[None]:
    """Show the code inside the block: live in a terminal, else as lines on stdout; with `quiet` warnings alone."""
    console = Console(highlight=False)
    if quiet:
        with observing(Silence()):
            yield
    elif console.is_terminal:
        with Live(console) as live, observing(live):
            yield
    else:
        with observing(Lines()):
            yield


class Silence(Display):
    """A display of warnings alone, on stderr."""

    def warning(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr, flush=True)

    def heading(self, text: str) -> None: ...

    def stages_planned(self, stages: Sequence[tuple[str, str]]) -> None: ...

    def stage_started(self, name: str, method: str) -> None: ...

    def stage_finished(self, name: str, method: str, seconds: float, computed: bool) -> None: ...

    def beside(self, unit: str, figures: Mapping[str, object]) -> None: ...

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...


class Stages(Silence):
    """Base of the displays that show the current stage, its cost and its progress."""

    def __init__(self) -> None:
        self._stage, self._method, self._started = "", "", 0.0
        self._cost: float | None = None
        self._unit, self._figures = "", ""

    def stage_started(self, name: str, method: str) -> None:
        self._stage, self._method, self._started = name, method, time.monotonic()
        self._cost = None

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._cost = values.get("usd", self._cost)

    def beside(self, unit: str, figures: Mapping[str, object]) -> None:
        self._unit = unit
        self._figures = " ".join(f"{name} {value}" for name, value in figures.items())

    def _row(self, text: str) -> str:
        return _row(self._stage, self._method, text)

    def _outcome(self, seconds: float, computed: bool) -> str:
        cost = f"  ${self._cost:.4f}" if computed and self._cost else ""
        return self._row((duration(seconds) if computed else CACHED) + cost)

    def _position(self, description: str, done: float, total: float, seconds_left: float | None) -> str:
        parts = [f"{done:g}/{total:g}"]
        if seconds_left:
            parts.append(f"{(total - done) / seconds_left:.3g} {self._unit}/s")
            parts.append(f"{duration(seconds_left)} left")
        if description != self._stage:
            parts.insert(0, f"{description.removeprefix(f'{self._stage}: ')}:")
        return "  ".join([*parts, self._figures]).rstrip()


class Lines(Stages):
    """A line a stage on stdout; every LINE_SECONDS a line of progress on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._written = time.monotonic()

    def heading(self, text: str) -> None:
        print(f"{text}:", flush=True)

    def stage_started(self, name: str, method: str) -> None:
        super().stage_started(name, method)
        self._written = time.monotonic()

    def stage_finished(self, name: str, method: str, seconds: float, computed: bool) -> None:
        self._stage, self._method = name, method
        print(f"  {self._outcome(seconds, computed)}", flush=True)

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        if time.monotonic() - self._written >= LINE_SECONDS:
            self._written = time.monotonic()
            line = self._row(self._position(description, done, total, seconds_left))
            print(f"  {line}", file=sys.stderr, flush=True)


class Bar(Progress):
    """The current stage with its bar, and below it the stages that follow, as many as fit on the screen."""

    pending: Sequence[tuple[str, str]] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and a line for each pending stage."""
        yield from super().get_renderables()
        if not self.pending:
            return
        room = max(1, self.console.height - 4)
        rows = [_row(stage, method, "") for stage, method in self.pending]
        shown = rows if len(rows) <= room else [*rows[: room - 1], f"and {len(rows) - room + 1} more"]
        yield Text("\n".join(f"- {row}" for row in shown), style="dim", no_wrap=True, overflow="ellipsis")


class Live(Stages):
    """Finished stages as a list, below it the current stage with its bar, rate and time left, and those that follow."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._plain = console.options.ascii_only
        self._bar = Bar(
            SpinnerColumn("line" if self._plain else "dots"),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[at]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=None, visible=False, at="")

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bar.stop()
        if kind and self._stage:
            self._write("x" if self._plain else "✗", "red", self._row("stopped"))

    def heading(self, text: str) -> None:
        self._console.print(f"[bold]{escape(text)}[/]")

    def stages_planned(self, stages: Sequence[tuple[str, str]]) -> None:
        self._bar.pending = tuple(stages)
        self._bar.refresh()

    def stage_started(self, name: str, method: str) -> None:
        super().stage_started(name, method)
        self._bar.pending = [stage for stage in self._bar.pending if stage != (name, method)]
        self._bar.reset(self._task, total=None, description=escape(self._row("")), visible=True, at="")

    def stage_finished(self, name: str, method: str, seconds: float, computed: bool) -> None:
        self._bar.update(self._task, visible=False)
        self._stage, self._method = name, method
        self._write("*" if self._plain else "✓", "green" if computed else "dim", self._outcome(seconds, computed))
        self._stage = ""

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        at = escape(self._position(description, done, total, seconds_left))
        self._bar.update(self._task, total=total, completed=done, at=at, refresh=True)

    def warning(self, message: str) -> None:
        self._console.print(f"[yellow]![/] {escape(message)}")

    def _write(self, mark: str, colour: str, row: str) -> None:
        self._console.print(f"[{colour}]{mark}[/] {escape(row)}")


def _row(stage: str, method: str, text: str) -> str:
    return f"{stage:<11} {method:<16} {text}".rstrip()


def duration(seconds: float) -> str:
    """`3.2 s`, `4:05` or `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
