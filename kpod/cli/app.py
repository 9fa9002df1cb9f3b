"""The application `kpod`: the commands of all themes, and the handling of errors."""

import sys
import warnings
from typing import Annotated

import typer

from kpod import __version__
from kpod.cli import estimate, models, recipes, run, teacher, upkeep
from kpod.cli.interrupt import interruptible
from kpod.errors import KpodError
from kpod.store.home import set_environment

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil the reasoning of a large model into a small one (KPOD).",
    epilog="Start with: kpod demo",
)
for theme in (run, estimate, models, upkeep):
    app.add_typer(theme.app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(teacher.app, name="teacher")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point. A KpodError is printed in one line, with exit code 2."""
    set_environment()
    if not sys.warnoptions:  # warnings of libraries do not concern the user
        warnings.simplefilter("ignore")
    try:
        with interruptible():
            app()
    except KpodError as error:
        typer.echo(f"kpod: {error}", err=True)
        sys.exit(2)
