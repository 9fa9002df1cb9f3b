"""Options that several commands share."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. distill.lr=1e-4; may be repeated."),
]
Refresh = Annotated[
    list[str], typer.Option("--refresh", metavar="STAGE", help="Compute this stage again; may be repeated.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only warnings and the result.")]
Model = Annotated[
    str, typer.Argument(metavar="SET", help="A dataset; SET@ALIAS or SET/VERSION names one of its students.")
]
