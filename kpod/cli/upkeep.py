"""Commands of operation: retraining, clean-up, checks, automations."""

import math
from pathlib import Path
from typing import Annotated

import typer

from kpod.cli.options import Overrides, Quiet
from kpod.cli.tables import show
from kpod.errors import ConfigError
from kpod.store.home import home, prepare

app = typer.Typer()

INCOMING = "data/incoming"


@app.command(epilog="Example: kpod add new-questions.jsonl && kpod retrain mine.yaml")
def retrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    address: Annotated[str, typer.Option(help="Folder, bucket (s3://...) or hub:SET@REVISION.")] = INCOMING,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file with settings of retraining: contract, gate, ...")
    ] = None,
    overrides: Overrides = [],  # noqa: B006  # typer copies defaults
    quiet: Quiet = False,
) -> None:
    """Train on the questions that have arrived, and promote the new student if it beats the champion."""
    from kpod.cli.launch import launch_retrain
    from kpod.config.settings import load, load_retrain

    launch_retrain(load(recipe, overrides), load_retrain(settings), address, quiet)


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Files of new questions: .jsonl, .jsonl.gz or .parquet.")],
    folder: Annotated[Path, typer.Option(help="The folder that is watched.")] = Path(INCOMING),
    address: Annotated[
        str | None, typer.Option(help="Where the worker sees this folder, if elsewhere: /app/data/incoming.")
    ] = None,
) -> None:
    """Copy new questions into the watched folder, and send an event to the Prefect server, if one is set."""
    from kpod.cli.launch import announce
    from kpod.retrain.incoming import add as put

    for file in files:
        typer.echo(f"{put(file, folder)} added")
    if announce(address or str(folder.absolute())):
        typer.echo("announced: the deployment kpod-retrain/on-data starts")


@app.command()
def clean(
    days: Annotated[float, typer.Option(help="Keep what runs of the last days need.", min=0)] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without this option, only list.")] = False,
) -> None:
    """Remove local results that no registered model and no recent run needs; the teacher's journal always stays."""
    from kpod.models.clean import candidates, remove

    if not math.isfinite(days):
        raise ConfigError("--days must be a number of days")
    prepare()
    freed = 0
    for removal in list(candidates(days)):
        typer.echo(
            f"{'removed' if yes else 'would remove'} {removal.path} ({removal.size / 1e6:.1f} MB): {removal.why}"
        )
        freed += removal.size
        if yes:
            remove(removal)
    typer.echo(f"{freed / 1e6:.1f} MB {'freed' if yes else 'can be freed, with --yes'}")


@app.command()
def doctor() -> None:
    """Check versions, state folder, services and keys, with a fix beside each finding."""
    from kpod.cli.doctor import findings

    results = list(findings())
    rows = [
        ["ok" if finding.ok else "BAD", finding.name, finding.status, "" if finding.ok else finding.fix]
        for finding in results
    ]
    show(["", "what", "found", "fix"], rows)
    typer.echo(f"state: {home()}")
    raise typer.Exit(0 if all(finding.ok for finding in results) else 1)


@app.command()
def automations(
    webhook: Annotated[
        str | None, typer.Option(help="Failures and promotions are POSTed here as {text}, as chat services take it.")
    ] = None,
) -> None:
    """Create Prefect's automations: dead runs are marked, failures and promotions are notified."""
    from kpod.cli.launch import install_automations

    for name in install_automations(webhook):
        typer.echo(f"{name}: active")
