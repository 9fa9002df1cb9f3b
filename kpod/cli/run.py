"""Commands that run a pipeline or a sweep, list runs, and compare students."""

from pathlib import Path
from typing import Annotated

import typer

from kpod.cli.options import Overrides, Quiet, Refresh
from kpod.cli.tables import markdown, show
from kpod.store.home import prepare

app = typer.Typer()


@app.command()
def demo(
    overrides: Overrides = [],  # noqa: B006  # typer copies defaults
    refresh: Refresh = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Run the whole pipeline on generated word problems with a scripted teacher: no key, no download."""
    _run("demo", overrides, refresh, None, quiet)


@app.command(epilog="Example: kpod run svamp-smollm2 --set distill.lr=1e-4 --refresh distill")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
    refresh: Refresh = [],  # noqa: B006
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    quiet: Quiet = False,
) -> None:
    """Run a pipeline; results of stages whose inputs did not change come from the cache."""
    _run(recipe, overrides, refresh, until, quiet)


def _run(recipe: str, overrides: list[str], refresh: list[str], until: str | None, quiet: bool) -> None:
    from kpod.cli.launch import launch
    from kpod.config.settings import load

    launch(load(recipe, overrides), refresh, until, quiet)


@app.command(epilog="Example: kpod sweep table-1 --size tiny --set seeds=[0,1]")
def sweep(
    recipe: Annotated[str, typer.Argument(help="A sweep's name or a YAML file.")],
    size: Annotated[
        str | None, typer.Option(help="Datasets, students and seeds: tiny, cpu, gpu, paper, or a YAML file.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    refresh: Refresh = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Train and compare methods over seeds, datasets and students; shared stages are computed once."""
    from kpod.cli.launch import launch_sweep
    from kpod.config.settings import load_sweep
    from kpod.sweep.plan import arms

    loaded = load_sweep(recipe, size, overrides)
    arms(loaded)  # invalid settings are reported before anything starts
    launch_sweep(loaded, refresh, quiet)


@app.command()
def runs(
    number: Annotated[int, typer.Option("--number", "-n", help="How many to show, the newest first.", min=1)] = 20,
) -> None:
    """List pipelines and sweeps: id, name, methods, accuracy of the last method, state and age."""
    from kpod.run.listing import listing

    prepare()
    rows = listing(number)
    if not rows:
        typer.echo("no run yet; start with: kpod demo")
        return
    show(["run", "name", "methods", "accuracy, all sets", "state", "age"], rows)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="RUN or RUN/METHOD of `kpod runs`, or a Parquet file.")],
    b: Annotated[str, typer.Argument(metavar="RUN", help="The other student.")],
    figure: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the changed answers into this file.")] = None,
) -> None:
    """Compare two evaluated students by a paired test, and show the questions that only one of them answers."""
    from kpod.errors import ConfigError
    from kpod.evaluate.compare import compare as paired
    from kpod.evaluate.compare import steps_markdown
    from kpod.run.results import predictions_of, steps_of

    if figure and not figure.absolute().parent.is_dir():
        raise ConfigError(f"--figure: there is no folder {figure.parent}")
    prepare()
    comparison = paired(predictions_of(a), predictions_of(b))
    steps = steps_of(a), steps_of(b)
    markdown(f"A is {a}, B is {b}.\n\n{comparison.to_markdown()}")
    if by_steps := steps_markdown(*steps):
        markdown(f"\n{by_steps}")
    if figure:
        from kpod.report.flips import flips_figure
        from kpod.report.style import write_png

        write_png(flips_figure(comparison, *steps), figure)
