"""Artifacts on Prefect's page of a flow run: the outcome as a table, a link to MLflow, the figures of each stage."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from kpod import tracking


def show_outcome(headline: str, rows: Sequence[Mapping[str, Any]], run: tracking.TrackedRun) -> None:
    """Create a table artifact with the headline as its description, and the link of `show_run`."""
    create_table_artifact(key="kpod-outcome", table=[dict(row) for row in rows], description=headline)
    show_run(run)


def show_run(run: tracking.TrackedRun) -> None:
    """Create a link artifact to the MLflow run, with the command that starts MLflow's UI if no server has the runs."""
    description = None if tracking.served() else f"Start MLflow's pages first: `{tracking.server_command()}`"
    create_link_artifact(key="kpod-mlflow", link=run.page, link_text="The run in MLflow", description=description)


def show_stage(stage: str, method: str, figures: Mapping[str, float]) -> None:
    """Create a Markdown artifact with the figures of a computed stage."""
    lines = [f"### {stage} ({method})", "", "| figure | value |", "|---|---:|"]
    lines += [f"| {name} | {value:,.6g} |" for name, value in sorted(figures.items())]
    create_markdown_artifact(
        key=_key(f"{stage}-{method}"), markdown="\n".join(lines), description=f"{stage} ({method})"
    )


def _key(name: str) -> str:
    """A valid key of an artifact: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"kpod-{name}".lower()).strip("-")
