"""Commands about the teacher: its cost, and a local server."""

from pathlib import Path
from typing import Annotated

import typer

from kpod.cli.interrupt import SERVES
from kpod.cli.options import Overrides
from kpod.store.home import prepare

app = typer.Typer(no_args_is_help=True, help="Estimate the teacher's cost, or serve a local teacher.")


@app.command("serve", epilog="Example: kpod teacher serve --replay r.jsonl.gz --questions q.jsonl.gz --port 8000")
def teacher_serve(
    replay: Annotated[Path | None, typer.Option(help="Answer with the stored rationales of this JSONL file.")] = None,
    questions: Annotated[list[Path], typer.Option(help="Questions of the stored rationales; may be repeated.")] = [],  # noqa: B006
    wrong: Annotated[float, typer.Option(help="Scripted: share of wrong answers.")] = 0.1,
    filler: Annotated[float, typer.Option(help="Scripted: share of steps with irrelevant words.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Seed of the wording and of the faults.")] = 0,
    fault: Annotated[
        list[str], typer.Option(metavar="KIND=SHARE", help="Fail on purpose, e.g. rate_limited=0.1; may be repeated.")
    ] = [],  # noqa: B006
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.", min=0, max=65535)] = 8000,
) -> None:
    """Serve a local teacher: solutions of generated word problems, or stored rationales (--replay)."""
    from pydantic import ValidationError

    from kpod.config import ReplayEndpoint, ScriptedEndpoint
    from kpod.config.settings import check_files
    from kpod.errors import ConfigError
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
    SERVES.set()
    serve(endpoint, port=port, faults=planned, host=host)


@app.command("estimate", epilog="Example: kpod teacher estimate mine.yaml --set teacher.samples=4")
def teacher_estimate(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Estimate the requests, tokens and dollars that the teacher still needs. Nothing is sent."""
    from kpod.config.settings import load
    from kpod.teacher.estimate import estimate_pipeline

    config = load(recipe, overrides)
    prepare()
    typer.echo(str(estimate_pipeline(config)))
