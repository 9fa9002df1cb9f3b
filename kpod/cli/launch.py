"""Start of the flows from the command line, and output of their results."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from kpod import tracking
from kpod.cli import ending
from kpod.cli.tables import markdown
from kpod.config import Pipeline
from kpod.config.retrain import Retrain
from kpod.config.sweep import Sweep
from kpod.display import displayed
from kpod.errors import ConfigError
from kpod.observe import stages_planned
from kpod.run.chain import planned
from kpod.run.stages import check_names
from kpod.store.home import home, prepare, sqlite_url


def launch(config: Pipeline, refresh: Sequence[str], until: str | None, quiet: bool) -> None:
    """Run the flow `kpod` in this process, with the server of PREFECT_API_URL or an embedded one; print its results.

    Raises ConfigError for an unknown stage or a state folder that cannot be written.
    """
    prepare()
    from flows.pipeline import kpod

    check_names([*refresh, *([until] if until else [])])
    chosen: Any = {"refresh": list(refresh), "until": until}
    report = [("report", "all")] if until in (None, "evaluate") else []
    with displayed(quiet):
        stages_planned([*planned(config, until), *report])
        _start_services()
        summary = kpod(config=config, **chosen)
    if summary["summary"]:
        ending.results(Path(summary["summary"]))
    _print_computed(summary)
    if summary["report"]:
        typer.echo(f"Report    {summary['report']}")
    _print_addresses(summary)
    if summary["report"]:
        ending.next_commands(summary["run_id"], config.methods)


def launch_sweep(sweep: Sweep, refresh: Sequence[str], quiet: bool) -> None:
    """Run the flow `kpod-compare` in this process and print its table. Raises ConfigError as `launch` does."""
    prepare()
    from flows.compare import kpod_compare

    check_names(refresh)
    chosen: Any = {"refresh": list(refresh)}
    with displayed(quiet):
        _start_services()
        summary = kpod_compare(sweep=sweep, **chosen)
    _print_computed(summary)
    typer.echo()
    markdown(summary["table"])
    typer.echo(f"Table     {summary['folder']}")
    _print_addresses(summary)


def _start_services() -> None:
    """Import MLflow while Prefect's embedded server starts; both take seconds."""
    from flows.embedded import starting

    with starting():
        tracking.client()


def _print_computed(summary: dict[str, Any]) -> None:
    typer.echo(f"\ncomputed: {', '.join(summary['computed']) or 'nothing, everything came from the cache'}")


def _print_addresses(summary: dict[str, Any]) -> None:
    typer.echo(f"Run       {summary['run_id']}")
    typer.echo(f"MLflow    {mlflow_command()}")
    typer.echo(f"Prefect   {prefect_command()}")


def launch_retrain(config: Pipeline, retrain: Retrain, address: str, quiet: bool) -> None:
    """Run the flow `kpod-retrain` in this process and print the decision."""
    prepare()
    from flows.retrain import kpod_retrain

    with displayed(quiet):
        _start_services()
        summary = kpod_retrain(config=config, retrain=retrain, address=address)
    version = f" (version {summary['version']})" if summary["version"] else ""
    _print_computed(summary)
    typer.echo(f"Decision  {summary['decision']}{version}: {summary['reason']}")
    if summary["decision"] == "hold":
        typer.echo(f"Accept    kpod promote {config.dataset}/{summary['version']}")
    typer.echo(f"Run       {summary['run_id']}")
    typer.echo(f"MLflow    {mlflow_command()}")


def announce(address: str) -> bool:
    """Send the event that questions have arrived at an address; False if no Prefect server is set."""
    if not os.environ.get("PREFECT_API_URL"):
        return False
    from flows.events import arrived

    arrived(address)
    return True


def install_automations(webhook: str | None) -> list[str]:
    """Create the automations on the server of PREFECT_API_URL; returns their names. ConfigError if none is set."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError("automations live on a Prefect server: start one and set PREFECT_API_URL")
    from flows.automations import install

    return install(webhook)


def mlflow_command() -> str:
    """The command that opens MLflow's UI on the store of this run."""
    return f"open {tracking.address()}" if tracking.served() else tracking.server_command()


def prefect_command() -> str:
    """The command that opens Prefect's UI on this state folder."""
    if os.environ.get("PREFECT_API_URL"):
        return f"open {os.environ['PREFECT_API_URL'].removesuffix('/api')}"
    database = sqlite_url(home() / "prefect" / "prefect.db", "aiosqlite")
    named = f" PREFECT_API_DATABASE_CONNECTION_URL={shlex.quote(database)}" if "?" in database else ""
    return f"PREFECT_HOME={shlex.quote(str(home() / 'prefect'))}{named} prefect server start"
