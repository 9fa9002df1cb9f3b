"""Options that several commands share."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. distill.lr=1e-4.")
]
Refresh = Annotated[list[str], typer.Option("--refresh", metavar="STAGE", help="Compute this stage again.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only warnings and the result.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Dataset or kpod-student-DATASET; MODEL@alias, MODEL/3.")]
