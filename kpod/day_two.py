"""Commands for what comes after the first run: retraining, champions, provenance, upkeep."""

import math
from pathlib import Path
from typing import Annotated

import typer

from kpod.errors import ConfigError
from kpod.home import prepare

app = typer.Typer()

Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the pipeline.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Dataset or kpod-student-DATASET; MODEL@alias, MODEL/3.")]
INCOMING = "data/incoming"


@app.command(epilog="Example: kpod add new-questions.jsonl && kpod retrain mine.yaml")
def retrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    address: Annotated[str, typer.Option(help="Folder, bucket (s3://...) or hub:SET@REVISION.")] = INCOMING,
    settings: Annotated[Path | None, typer.Option(help="YAML file of contract, gate and the like.")] = None,
    overrides: Overrides = [],  # noqa: B006  # typer copies defaults
) -> None:
    """Train on what has arrived, compare with the champion on the same questions, and let the gate decide."""
    from kpod.launch import launch_retrain
    from kpod.settings import load, load_retrain

    launch_retrain(load(recipe, overrides), load_retrain(settings), address)


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(help="Files of new questions: .jsonl, .jsonl.gz or .parquet.")],
    folder: Annotated[Path, typer.Option(help="The folder that is watched.")] = Path(INCOMING),
    address: Annotated[
        str | None, typer.Option(help="Where the worker sees this folder, if elsewhere: /app/data/incoming.")
    ] = None,
) -> None:
    """Put new questions where the retraining finds them, and tell a Prefect server, if one is set."""
    from kpod.launch import announce
    from kpod.retrain.incoming import add as put

    for file in files:
        typer.echo(f"{put(file, folder)} added")
    if announce(address or str(folder.absolute())):
        typer.echo("announced: the deployment kpod-retrain/on-data starts")


@app.command()
def promote(model: Model) -> None:
    """Make a version the champion by hand, such as one that the gate holds."""
    from kpod import registry

    prepare()
    if "@" not in model and "/" not in model:
        raise ConfigError(f"name the version: {model}/NUMBER or {model}@challenger")
    version = registry.find(model)
    old = registry.promote(version)
    typer.echo(f"{version.name}/{version.version} is the champion{f', in place of {old}' if old else ''}")


@app.command()
def rollback(model: Model) -> None:
    """Give the alias `champion` back to the champion before the present one."""
    from kpod import registry

    prepare()
    name, now, left = registry.rollback(model)
    typer.echo(f"{name}/{now} is the champion again; version {left} is marked and will not be promoted by the gate")


@app.command()
def lineage(model: Model) -> None:
    """Print what a model version was made from: every stage back to data files, journal, code and seeds."""
    from kpod.lineage import lineage as chain
    from kpod.lineage import lines

    prepare()
    for line in lines(*chain(model)):
        typer.echo(line)


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="MLflow run id of a pipeline or a stage.")],
) -> None:
    """Compute a run's stages again from their recorded inputs and say whether the bytes are identical."""
    from kpod.reproduce import reproduce as again

    prepare()
    different = 0
    for one in again(run):
        different += not one.identical
        note = f" ({one.note})" if one.note else ""
        typer.echo(f"{'identical' if one.identical else 'DIFFERENT'}  {one.name}  {one.recorded[:16]}{note}")
    typer.echo("identical" if not different else f"{different} stages differ")
    raise typer.Exit(1 if different else 0)


@app.command()
def clean(
    days: Annotated[float, typer.Option(help="Keep what runs of so many days need.", min=0)] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, only tell.")] = False,
) -> None:
    """Remove local results that no registered model and no recent run needs; the teacher's journal always stays."""
    from kpod.clean import candidates, remove
    from kpod.errors import ConfigError

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
def automations(
    webhook: Annotated[
        str | None, typer.Option(help="Failures and promotions are POSTed here as {text}, as chat services take it.")
    ] = None,
) -> None:
    """Make Prefect's automations: dead runs are marked, failures and promotions are told."""
    from kpod.launch import install_automations

    for name in install_automations(webhook):
        typer.echo(f"{name}: active")
