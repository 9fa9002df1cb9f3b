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
teacher_app = typer.Typer(no_args_is_help=True, help="What a teacher costs, and a local one.")
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


@app.command(epilog="Example: kpod sweep table-2 --size tiny --set seeds=[0,1]")
def sweep(
    recipe: Annotated[str, typer.Argument(help="A sweep's name or a YAML file.")],
    size: Annotated[
        str | None, typer.Option(help="What it is compared on: tiny, cpu, gpu, paper, or a YAML file.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    refresh: Refresh = [],  # noqa: B006
) -> None:
    """Compare methods over seeds, datasets and students; what they share is computed once."""
    from kpod.launch import launch_sweep
    from kpod.settings import load_sweep
    from kpod.sweep.plan import arms

    loaded = load_sweep(recipe, size, overrides)
    arms(loaded)  # a setting that does not fit is told before anything starts
    launch_sweep(loaded, refresh)


RECIPES = {  # folder of recipes -> how one is listed, and how a copy is used
    "": ("kpod run {}", "kpod run {}"),
    "sweeps": ("kpod sweep {}", "kpod sweep {}"),
    "sizes": ("kpod sweep ... --size {}", "kpod sweep RECIPE --size {}"),
    "accelerate": ("kpod recipes cp {}", "kpod run RECIPE --set distill.accelerate={}"),
}


@recipes_app.command("ls")
def recipes_ls() -> None:
    """List the recipes with their first line."""
    from kpod.settings import recipes

    for kind, (listed, _) in RECIPES.items():
        for name, path in recipes(kind).items():
            first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
            typer.echo(f"{listed.format(name):<30} {first}")


@recipes_app.command("cp")
def recipes_cp(name: str, destination: Path) -> None:
    """Copy a recipe to a file of your own."""
    from kpod.errors import ConfigError
    from kpod.settings import recipes

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


@recipes_app.command(
    "params", epilog='Example: prefect deployment run kpod/full-pipeline --params "$(kpod recipes params mine.yaml)"'
)
def recipes_params(recipe: str, overrides: Overrides = []) -> None:  # noqa: B006
    """Print a checked recipe as parameters of a deployment; files that it names must lie there on the worker too."""
    import json

    from kpod.settings import load

    typer.echo(json.dumps({"config": load(recipe, overrides).model_dump(mode="json", exclude_unset=True)}))


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
    port: Annotated[int, typer.Option(help="0: any free port.", min=0, max=65535)] = 8000,
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


@teacher_app.command("estimate", epilog="Example: kpod teacher estimate mine.yaml --set teacher.samples=4")
def teacher_estimate(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Dry run: how many requests, tokens and dollars the teacher would still take. Nothing is sent."""
    from kpod.settings import load
    from kpod.teacher.estimate import estimate_pipeline

    config = load(recipe, overrides)
    prepare()
    typer.echo(str(estimate_pipeline(config)))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="MLflow run id, id/METHOD, or a predictions.parquet.")],
    b: Annotated[str, typer.Argument(metavar="RUN")],
    figure: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw what flipped into this file.")] = None,
) -> None:
    """Compare two evaluated students on the same questions, paired, and show what flipped."""
    from kpod.errors import ConfigError
    from kpod.evaluate.compare import compare as paired
    from kpod.evaluate.compare import steps_markdown
    from kpod.runs import predictions_of, steps_of

    if figure and not figure.absolute().parent.is_dir():
        raise ConfigError(f"--figure: there is no folder {figure.parent}")
    prepare()
    comparison = paired(predictions_of(a), predictions_of(b))
    steps = steps_of(a), steps_of(b)
    typer.echo(comparison.to_markdown())
    if by_steps := steps_markdown(*steps):
        typer.echo(f"\n{by_steps}")
    if figure:
        from kpod.report.flips import flips_figure
        from kpod.report.style import write_png

        write_png(flips_figure(comparison, *steps), figure)


@app.command(epilog="Example: kpod export RUN/kpod student/; kpod export RUN/kpod student.gguf")
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="MLflow run id or id/METHOD.")],
    target: Annotated[Path, typer.Argument(help="A folder to make, or a file that ends in .gguf; must not exist.")],
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter alone (distill.adapter.keep).")] = False,
    lm_eval: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a task for lm-evaluation-harness here.")
    ] = None,
) -> None:
    """Copy a student out of the artifact store: a Hugging Face folder, its adapter alone, or GGUF."""
    from kpod.export import export as write
    from kpod.runs import export_task

    prepare()
    write(run, target, adapter)
    loader = "PeftModel.from_pretrained(base, ...)" if adapter else "AutoModelForCausalLM.from_pretrained(...)"
    typer.echo(f"{target} written" + ("" if target.suffix == ".gguf" else f"; load it with {loader}"))
    if lm_eval:
        export_task(run, lm_eval)
        typer.echo(f"{lm_eval} written; use it with: lm_eval run --include_path {lm_eval} --tasks kpod ...")


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
