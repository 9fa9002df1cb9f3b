"""The command line. Heavy imports stay inside the commands, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kpod import __version__, day_two
from kpod.errors import KpodError
from kpod.home import home, prepare, set_environment

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil the reasoning of a large model into a small one (KPOD).",
    epilog="Start with: kpod demo",
)
recipes_app = typer.Typer(no_args_is_help=True, help="List and copy the recipes that ship with kpod.")
teacher_app = typer.Typer(no_args_is_help=True, help="A local teacher that speaks chat completions.")
app.add_typer(day_two.app)
app.add_typer(recipes_app, name="recipes")
app.add_typer(teacher_app, name="teacher")

Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. distill.epochs=4.")
]
Refresh = Annotated[list[str], typer.Option("--refresh", metavar="STAGE", help="Compute this stage again.")]
Until = Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")]


def main() -> None:
    """Entry point: errors that a user can act on are one line and exit code 2."""
    set_environment()
    try:
        app()
    except KpodError as error:
        typer.echo(f"kpod: {error}", err=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(overrides: Overrides = [], refresh: Refresh = []) -> None:  # noqa: B006  # typer copies defaults
    """Run the whole pipeline on generated word problems with a scripted teacher: no key, no download."""
    _run("demo", overrides, refresh, None)


@app.command(epilog="Example: kpod run svamp-smollm2 --set distill.epochs=3 --refresh distill")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
    refresh: Refresh = [],  # noqa: B006
    until: Until = None,
) -> None:
    """Run a pipeline; stages whose inputs did not change come from the cache."""
    _run(recipe, overrides, refresh, until)


def _run(recipe: str, overrides: list[str], refresh: list[str], until: str | None) -> None:
    from kpod.launch import launch
    from kpod.settings import load

    launch(load(recipe, overrides), refresh, until)


@recipes_app.command("ls")
def recipes_ls() -> None:
    """List the recipes with their first line."""
    from kpod.settings import recipes

    for name, path in recipes().items():
        typer.echo(f"{name:<16} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")


@recipes_app.command("cp")
def recipes_cp(name: str, destination: Path) -> None:
    """Copy a recipe to a file of your own."""
    from kpod.errors import ConfigError
    from kpod.settings import recipes

    if name not in recipes():
        raise ConfigError(f"no recipe {name}; there are: {', '.join(recipes())}")
    if destination.exists():
        raise ConfigError(f"{destination} exists already")
    destination.write_text(recipes()[name].read_text(encoding="utf-8"), encoding="utf-8")
    typer.echo(f"{destination} written; run it with: kpod run {destination}")


@teacher_app.command(
    "serve", epilog="Example: kpod teacher serve --replay r.jsonl.gz --questions q.jsonl.gz --port 8000"
)
def teacher_serve(
    replay: Annotated[Path | None, typer.Option(help="Answer with the stored rationales of this JSONL file.")] = None,
    questions: Annotated[list[Path], typer.Option(help="Questions of the stored rationales; may be repeated.")] = [],  # noqa: B006
    wrong: Annotated[float, typer.Option(help="Scripted: share of wrong answers.")] = 0.1,
    filler: Annotated[float, typer.Option(help="Scripted: share of steps with irrelevant words.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the scripted wording and of the faults.")] = 0,
    fault: Annotated[
        list[str], typer.Option(metavar="KIND=SHARE", help="Fail on purpose, e.g. rate_limited=0.1; may be repeated.")
    ] = [],  # noqa: B006
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8000,
) -> None:
    """Serve generated word problems worked out (default), or stored rationales (--replay), over chat completions."""
    from pydantic import ValidationError

    from kpod.config import ReplayEndpoint, ScriptedEndpoint
    from kpod.errors import ConfigError
    from kpod.settings import check_files
    from kpod.teacher.faults import Faults
    from kpod.teacher.server import serve

    try:
        planned = Faults.model_validate({"seed": seed, **dict(item.partition("=")[::2] for item in fault)})
        endpoint = (
            ReplayEndpoint(rationales=replay, questions=questions)
            if replay
            else ScriptedEndpoint(wrong=wrong, filler=filler, seed=seed)
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"kpod teacher serve: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    check_files(endpoint)
    serve(endpoint, port=port, faults=planned, host=host)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="MLflow run id, id/METHOD, or a predictions.parquet.")],
    b: Annotated[str, typer.Argument(metavar="RUN")],
) -> None:
    """Compare two evaluated students on the same questions, paired."""
    from kpod.evaluate.compare import compare as paired
    from kpod.runs import predictions_of

    prepare()
    typer.echo(paired(predictions_of(a), predictions_of(b)).to_markdown())


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="MLflow run id or id/METHOD.")],
    folder: Annotated[Path, typer.Argument(help="Where to put the model folder; must not exist.")],
) -> None:
    """Copy a student out of the artifact store as a plain Hugging Face folder."""
    from kpod.runs import export_student

    prepare()
    export_student(run, folder)
    typer.echo(f"{folder} written; load it with AutoModelForCausalLM.from_pretrained({str(folder)!r})")


@app.command()
def doctor() -> None:
    """Check versions, state folder, services and keys, with a fix beside each finding."""
    from kpod.doctor import findings

    bad = 0
    for finding in findings():
        typer.echo(f"{'ok ' if finding.ok else 'BAD'} {finding.what}: {finding.found}")
        if not finding.ok:
            bad += 1
            typer.echo(f"    fix: {finding.fix}")
    typer.echo(f"state: {home()}")
    raise typer.Exit(1 if bad else 0)


if __name__ == "__main__":
    main()
