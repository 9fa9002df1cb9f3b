"""The command `kpod estimate`."""

from typing import Annotated

import typer

from kpod.cli.options import Overrides
from kpod.store.home import prepare

app = typer.Typer()

COLUMNS = ("weights", "gradients", "optimizer", "activations", "logits", "cache")


@app.command(epilog="Example: kpod estimate mine.yaml --gpu h100 --set distill.micro_batch=16")
def estimate(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: Overrides = [],  # noqa: B006
    gpu: Annotated[str, typer.Option(help="a100, h100, h200, l4 or rtx4090.")] = "a100",
) -> None:
    """Estimate the teacher's cost, and GPU memory and hours of each stage. No model is loaded, no request sent."""
    from kpod.cli.tables import show
    from kpod.config.settings import load
    from kpod.errors import ConfigError
    from kpod.estimate.hours import BUSY, GPUS, READ
    from kpod.estimate.pipeline import counts, lines

    config = load(recipe, overrides)
    if gpu not in GPUS:
        raise ConfigError(f"--gpu: {gpu} is none of {', '.join(GPUS)}")
    prepare()
    sizes = counts(config)
    typer.echo(f"Teacher: {sizes.teacher}\n")
    longest, limit = sizes.longest, GPUS[gpu].memory
    estimates = lines(config, sizes, GPUS[gpu])
    typer.echo(f"GB of one GPU, in batches of rows of {longest.prompt} + {longest.target} tokens, and hours:\n")
    rows = [
        [line.stage, *(_gb(getattr(line.memory, name)) for name in COLUMNS), _gb(line.memory.total), _hours(line.hours)]
        for line in estimates
    ]
    show(["stage", *("KV cache" if name == "cache" else name for name in COLUMNS), "GB", "hours"], rows)
    typer.echo(
        f"Hours are of one {gpu} at {BUSY:.0%} of its peak in training and {READ:.0%} of its bandwidth in decoding, for"
        f" {sizes.questions['train']} questions with rationales of {sizes.usual.rationale} tokens."
    )
    for line in estimates:
        if line.memory.total > 0.95e9 * limit:
            typer.echo(f"{line.stage.partition(',')[0]} does not fit into {limit:g} GB: {_advice(line.stage)}")


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f}" if count >= 5e7 else "0"


def _hours(count: float) -> str:
    return f"{count:.1f}" if count >= 0.05 else "0"


def _advice(stage: str) -> str:
    match stage.partition(",")[0]:
        case "weights":
            return "lower weights.batch_tokens, or set weights.predictor_adapter to lora"
        case "difficulty":
            return "lower difficulty.batch_tokens"
        case "evaluate":
            return "lower evaluate.batch_size"
    return "set distill.gradient_checkpointing, lower distill.micro_batch, or use adapter {kind: lora, quantize: nf4}"
