"""The output at the end of a run: the headline, the tables, and the next commands; plain tables where piped."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from kpod.cli.tables import show, title
from kpod.run.listing import SHORT


def results(path: Path) -> None:
    """Print headline and tables of a report's summary.json, with the paired differences that the headline names."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    if headline := summary["headline"]:
        title(headline["sentence"], headline["where"])
        if headline["rationales"]:
            typer.echo(f"{headline['rationales']}\n")
    for method, words in summary["methods"].items():
        typer.echo(f"{method:<15}  {words}")
    typer.echo()
    show(*_accuracy(summary["accuracy"]))
    if headline and (paired := _paired(summary["comparisons"], headline)):
        show(["paired", "set", "difference", "95%", "p (McNemar)"], paired)
    if summary["costs"]:
        show(["method", "target tokens", "epochs", "CPU s", "wall s", "preparation, CPU s"], _costs(summary["costs"]))
    if summary["compared_at"]:
        typer.echo(f"Methods are compared {summary['compared_at']}.")


def _accuracy(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A line a method, a column a set."""
    sets = {f"{row['dataset']} {row['split']} ({row['questions']})": (row["dataset"], row["split"]) for row in rows}
    cells = {
        (row["method"], row["dataset"], row["split"]):
        f"{row['accuracy']:.1%} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        for row in rows
    }  # fmt: skip
    methods = dict.fromkeys(row["method"] for row in rows)
    lines = [[method, *(cells.get((method, *key), "") for key in sets.values())] for method in methods]
    return ["accuracy (95%)", *sets], lines


def _paired(rows: Sequence[dict[str, Any]], headline: dict[str, Any]) -> list[list[str]]:
    """The comparisons of the headline: its methods, and plain distillation on several rationales against one."""
    from kpod.report.headline import ONE, PLAIN  # the command line is read without a report's libraries

    pairs = ((headline["against"], headline["method"]), (ONE, PLAIN))
    return [
        [
            f"{row['b']} - {row['a']}", f"{row['dataset']} {row['split']}", f"{100 * row['difference']:+.1f} points",
            f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}", f"{row['p_value']:.3g}",
        ]
        for row in rows
        if (row["a"], row["b"]) in pairs
    ]  # fmt: skip


def _costs(costs: dict[str, dict[str, Any]]) -> list[list[str]]:
    names = ("epochs", "cpu_seconds", "wall_seconds", "preparation_seconds")
    return [
        [method, f"{cost['target_tokens']:,}", *("" if cost[name] is None else f"{cost[name]:.3g}" for name in names)]
        for method, cost in costs.items()
    ]


def next_commands(run_id: str, methods: Sequence[str]) -> None:
    """Print three commands that use the run."""
    from kpod.report.headline import compared  # the command line is read without a report's libraries

    run = run_id[:SHORT]
    pair = compared(methods)
    commands = [f"kpod compare {run}/{pair[0]} {run}/{pair[1]}"] if pair else []
    commands += [f"kpod export {run}/{pair[1] if pair else methods[-1]} student/", "kpod runs"]
    typer.echo("\nGo on with")
    for command in commands:
        typer.echo(f"  {command}")
