"""The processes of `kpod.training.processes`: an agent, which is torchrun or `accelerate launch`, and its ranks.

`python -m kpod.training.worker --processes N JOB` or `--accelerate FILE JOB` is the agent; the ranks are
`python -m kpod.training.worker JOB`, also on other machines.
"""

import argparse
import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from kpod import config, errors, observe
from kpod.store.liveness import die_with_parent
from kpod.training.processes import send


class Forward(observe.Observer):
    """An observer that sends everything to the launching process."""

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        send("progress", description=description, done=done, total=total)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        send("metrics", values=dict(values), step=step)

    def warning(self, message: str) -> None:
        send("warning", message=message)


RANK = ["-m", "kpod.training.worker"]


def torchrun(processes: int, job: str) -> None:
    """Start so many ranks on this machine, and wait for them."""
    from torch.distributed.run import main

    main(["--standalone", f"--nproc-per-node={processes}", *RANK, job])


def accelerate_launch(file: str, job: str) -> None:
    """Start this machine's ranks of a config file of accelerate, and wait for them."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    launch_command(launch_command_parser().parse_args(["--config_file", file, *RANK, job]))


def rank(job: Path) -> None:
    """Execute a job as one rank, and report to the launching process. Exits with 2 after a KpodError."""
    import torch.distributed

    from kpod.training.ranks import ranks

    about = json.loads(job.read_text())
    module, name = about["part"]
    part = getattr(import_module(module), name)
    settings = getattr(config, about["settings"])
    chosen = settings.model_validate(about["config"])
    # accelerate's word for FSDP. The trainer splits the model itself, so accelerate must not do it again.
    if os.environ.pop("ACCELERATE_USE_FSDP", "") == "true":
        chosen = chosen.model_copy(update={"sharding": True})
    inputs = {name: Path(folder) for name, folder in about["inputs"].items()}
    observers = [Forward()] if ranks().writes else []
    try:
        with observe.observing(*observers):
            figures = part(inputs, chosen, Path(about["out_dir"]))
    except errors.KpodError as error:
        if ranks().writes:
            send("failure", error=type(error).__name__, message=str(error))
        raise SystemExit(2) from error
    if ranks().writes:
        send("figures", values=figures)
    ranks().wait()  # if the exit of a rank fails, torchrun kills the others: none leaves before all have written
    torch.distributed.destroy_process_group()


def main() -> None:
    """Entry point of agent and ranks."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--accelerate")
    options = parser.parse_args()
    if options.accelerate:
        accelerate_launch(options.accelerate, options.job)
    elif options.processes:
        torchrun(options.processes, options.job)
    else:
        rank(Path(options.job))


if __name__ == "__main__":
    main()
