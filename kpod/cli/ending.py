"""What a run ends with: the headline, the tables, and commands to go on with; tables are plain where piped."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from kpod.cli.tables import show, title
from kpod.run.listing import SHORT


def results(path: Path) -> None:
    """Print the headline and the tables of a report's summary.json."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if headline := told["headline"]:
        title(headline["sentence"], headline["where"])
        if headline["rationales"]:
            typer.echo(headline["rationales"])
    show(
        ["method", "set", "questions", "accuracy", "95%", "truncated"],
        [
            [
                row["method"], f"{row['dataset']} {row['split']}", f"{row['questions']}", f"{row['accuracy']:.1%}",
                f"{row['low']:.1%} to {row['high']:.1%}", f"{row['truncated']:.1%}",
            ]
            for row in told["accuracy"]
        ],
    )  # fmt: skip
    if told["comparisons"]:
        show(
            ["paired", "set", "difference", "95%", "p (McNemar)"],
            [
                [
                    f"{row['b']} - {row['a']}", f"{row['dataset']} {row['split']}",
                    f"{100 * row['difference']:+.1f} points",
                    f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}", f"{row['p_value']:.3g}",
                ]
                for row in told["comparisons"]
            ],
        )  # fmt: skip
    if told["costs"]:
        show(["method", "target tokens", "epochs", "CPU s", "wall s", "preparation, CPU s"], _costs(told["costs"]))
    if told["compared_at"]:
        typer.echo(f"Methods are compared {told['compared_at']}.")


def _costs(costs: dict[str, dict[str, Any]]) -> list[list[str]]:
    names = ("epochs", "cpu_seconds", "wall_seconds", "preparation_seconds")
    return [
        [method, f"{one['target_tokens']:,}", *("" if one[name] is None else f"{one[name]:.3g}" for name in names)]
        for method, one in costs.items()
    ]


def next_commands(run_id: str, methods: Sequence[str]) -> None:
    """Three commands to go on with."""
    from kpod.report.headline import compared  # the command line is read without a report's libraries

    run = run_id[:SHORT]
    pair = compared(methods)
    commands = [f"kpod compare {run}/{pair[0]} {run}/{pair[1]}"] if pair else []
    commands += [f"kpod export {run}/{pair[1] if pair else methods[-1]} student/", "kpod runs"]
    typer.echo("\nGo on with")
    for command in commands:
        typer.echo(f"  {command}")
