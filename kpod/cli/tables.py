"""Tables for people and for pipes: drawn by rich in a terminal, Markdown elsewhere."""

from collections.abc import Sequence

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table


def title(text: str, below: str) -> None:
    """One sentence that stands out, and a soft line below it."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(f"\n[bold]{escape(text)}[/]\n[dim]{escape(below)}[/]")
    else:
        typer.echo(f"\n{text}\n{below}\n")


def markdown(text: str) -> None:
    """Print Markdown: drawn in a terminal, as it is elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        typer.echo(text)


def show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns whose cells begin with a digit or a sign are aligned to the right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        lines = [columns, ["---"] * len(columns), *rows]
        typer.echo("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
        return
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numbers = all(row[index][:1] in "+-0123456789" for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
