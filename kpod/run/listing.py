"""The pipelines and sweeps in MLflow, as rows of text."""

import time

from kpod import tracking
from kpod.run.results import PARENTS

SHORT = 8  # characters of a run's id that are shown; any unique prefix names the run


def listing(number: int) -> list[list[str]]:
    """The `number` newest runs: id, name, methods, accuracy of the last evaluated method, state and age."""
    return [_row(run) for run in tracking.runs_of(PARENTS)[:number]]


def _row(run: tracking.Run) -> list[str]:
    methods = [name for name in run.data.tags.get("kpod.methods", "").split(",") if name]
    figures = [run.data.metrics.get(f"accuracy.{method}") for method in methods]
    evaluated = [value for value in figures if value is not None]
    return [
        run.info.run_id[:SHORT],
        run.info.run_name,
        ", ".join(methods) or run.data.tags["kpod.stage"],
        f"{evaluated[-1]:.1%}" if evaluated else "",
        run.info.status.lower(),
        age(time.time() - run.info.start_time / 1000),
    ]


def age(seconds: float) -> str:
    """An age in words: `40 s`, `5 min`, `3 h` or `12 days`."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
