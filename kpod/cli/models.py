"""Commands for finished students: champions, provenance, export."""

from pathlib import Path
from typing import Annotated

import typer

from kpod.cli.interrupt import SERVES
from kpod.cli.options import Model
from kpod.errors import ConfigError
from kpod.store.home import prepare

app = typer.Typer()


@app.command()
def promote(model: Model) -> None:
    """Make a version the champion by hand, such as one that the gate holds."""
    from kpod.models import registry

    prepare()
    if "@" not in model and "/" not in model:
        raise ConfigError(f"name the version: {model}/NUMBER or {model}@challenger")
    version = registry.find(model)
    old = registry.promote(version)
    typer.echo(f"{version.name}/{version.version} is the champion{f', in place of {old}' if old else ''}")


@app.command()
def rollback(model: Model) -> None:
    """Give the alias `champion` back to the previous champion."""
    from kpod.models import registry

    prepare()
    name, now, left = registry.rollback(model)
    typer.echo(f"{name}/{now} is the champion again; version {left} is marked and will not be promoted by the gate")


@app.command()
def lineage(model: Model) -> None:
    """Print the provenance of a model version: its stages, data files, teacher's answers, code and seeds."""
    from kpod.cli.tables import provenance
    from kpod.models.lineage import lineage as provenance_of

    prepare()
    provenance(*provenance_of(model))


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN of `kpod runs`, or the id of a stage's run.")],
) -> None:
    """Compute a run's stages again from their recorded inputs and say whether the bytes are identical."""
    from kpod.models.reproduce import reproduce as again

    prepare()
    different = 0
    for result in again(run):
        different += not result.identical
        note = f" ({result.note})" if result.note else ""
        typer.echo(f"{'identical' if result.identical else 'DIFFERENT'}  {result.name}  {result.recorded[:16]}{note}")
    typer.echo("identical" if not different else f"{different} stages differ")
    raise typer.Exit(1 if different else 0)


@app.command(epilog="Example: kpod serve RUN/kpod --port 8001")
def serve(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN or RUN/METHOD of `kpod runs`.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65535)] = 8001,
    engine: Annotated[str, typer.Option(help="vllm, llama.cpp, kpod, or auto: the first that is installed.")] = "auto",
) -> None:
    """Serve a student as an OpenAI-compatible API on this machine, by vLLM or llama.cpp where installed."""
    from kpod.models.serve import serve as forever

    SERVES.set()
    prepare()
    forever(run, port, engine)


@app.command(epilog="Example: kpod export RUN/kpod student/; kpod export RUN/kpod student.gguf")
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN or RUN/METHOD of `kpod runs`.")],
    target: Annotated[Path, typer.Argument(help="A folder to make, or a file that ends in .gguf; must not exist.")],
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter alone (distill.adapter.keep).")] = False,
    lm_eval: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a task for lm-evaluation-harness here.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Upload the folder to this (private) repository too.")
    ] = None,
    licence: Annotated[str, typer.Option("--license", help="Licence field of the model card.")] = "other",
) -> None:
    """Export a student: a Hugging Face folder with a model card, its LoRA adapter alone, or a GGUF file."""
    from kpod.models import hub
    from kpod.models.export import export as write
    from kpod.run.results import export_task

    prepare()
    if push_to_hub:
        hub.check_name(push_to_hub)
        if adapter or target.suffix == ".gguf":
            raise ConfigError("--push-to-hub uploads a whole student: give a folder, without --adapter")
    write(run, target, adapter, licence)
    loader = "PeftModel.from_pretrained(base, ...)" if adapter else "AutoModelForCausalLM.from_pretrained(...)"
    typer.echo(f"{target} written" + ("" if target.suffix == ".gguf" else f"; load it with {loader}"))
    if push_to_hub:
        typer.echo(f"uploaded to {hub.push(target, push_to_hub)}")
    if lm_eval:
        export_task(run, lm_eval)
        typer.echo(f"{lm_eval} written; use it with: lm_eval run --include_path {lm_eval} --tasks kpod ...")
