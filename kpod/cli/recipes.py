"""Commands that list and copy the recipes that ship with kpod."""

from pathlib import Path
from typing import Annotated

import typer

from kpod.cli.options import Overrides
from kpod.cli.tables import show

app = typer.Typer(no_args_is_help=True, help="List and copy the recipes that ship with kpod.")

RECIPES = {  # folder of recipes -> how one is listed, and how a copy is used
    "": ("kpod run {}", "kpod run {}"),
    "sweeps": ("kpod sweep {}", "kpod sweep {}"),
    "sizes": ("kpod sweep ... --size {}", "kpod sweep RECIPE --size {}"),
    "accelerate": ("kpod recipes cp {}", "kpod run RECIPE --set distill.accelerate={}"),
}


@app.command("ls")
def recipes_ls() -> None:
    """List the recipes."""
    from kpod.config.settings import recipes

    rows = []
    for kind, (listed, _) in RECIPES.items():
        for name, path in recipes(kind).items():
            rows.append([listed.format(name), path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")])
    show(["command", "what it is"], rows)


@app.command("cp")
def recipes_cp(
    name: Annotated[str, typer.Argument(help="Name of a recipe, as `kpod recipes ls` shows it.")],
    destination: Annotated[Path, typer.Argument(help="File to write; must not exist.")],
) -> None:
    """Copy a recipe to a file of your own."""
    from kpod.config.settings import recipes
    from kpod.errors import ConfigError

    known = {name: (path, use) for kind, (_, use) in RECIPES.items() for name, path in recipes(kind).items()}
    if name not in known:
        raise ConfigError(f"no recipe {name}; there are: {', '.join(known)}")
    if destination.exists():
        raise ConfigError(f"{destination} exists already")
    path, use = known[name]
    try:
        destination.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{destination} cannot be written: {error.strerror}") from error
    typer.echo(f"{destination} written; run it with: {use.format(destination)}")


@app.command(
    "params", epilog='Example: prefect deployment run kpod/full-pipeline --params "$(kpod recipes params mine.yaml)"'
)
def recipes_params(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Print a recipe as parameters of a Prefect deployment. Files that it names must be on the worker too."""
    import json

    from kpod.config.settings import load

    typer.echo(json.dumps({"config": load(recipe, overrides).model_dump(mode="json", exclude_unset=True)}))
