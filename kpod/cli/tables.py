"""Tables: drawn by rich in a terminal, as Markdown elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

if TYPE_CHECKING:
    from kpod.models.lineage import Node
    from kpod.tracking import ModelVersion

WIDE = 1000  # columns of a tree in a pipe: no line is broken


def title(text: str, below: str) -> None:
    """Print a sentence in bold, and a dimmed line below it."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(f"\n[bold]{escape(text)}[/]\n[dim]{escape(below)}[/]")
    else:
        typer.echo(f"\n{text}\n{below}\n")


def markdown(text: str) -> None:
    """Print Markdown: rendered in a terminal, as it is elsewhere."""
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


def provenance(version: "ModelVersion", root: "Node") -> None:
    """Print a model version with its tags, and the tree of its inputs; a shared result is expanded once."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    aliases = ", ".join(version.aliases) or "no alias"
    tree = Tree(f"[bold]{escape(version.name)}/{version.version}[/] ({escape(aliases)})", guide_style="dim")
    for key, value in sorted(version.tags.items()):
        tree.add(f"[dim]{escape(key.removeprefix('kpod.'))}[/] {escape(value)}")
    printed: set[str] = set()

    def add(branch: Tree, node: "Node") -> None:
        origin = f"run {node.run_id}" if node.run_id else f"file {node.source}"
        label = f"[bold]{escape(node.name)}[/] {escape(origin)}"
        if node.run_id and node.run_id in printed:
            branch.add(f"{label} [dim]above[/]")
            return
        printed.add(node.run_id)
        facts = "".join(f"\n[dim]{escape(fact)}[/]" for fact in node.facts)
        below = branch.add(f"{label} [dim]sha256 {node.sha256[:12]}[/]{facts}")
        for child in node.inputs:
            add(below, child)

    add(tree, root)
    console.print(tree)
