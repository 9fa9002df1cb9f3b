"""The processes behind `launch`: an agent that becomes torchrun, and the ranks that it starts.

`python -m kpod.distill.worker --processes N JOB` is the agent; torchrun runs `python -m kpod.distill.worker JOB`.
"""

import argparse
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from kpod import config, errors, observe
from kpod.alive import die_with_parent
from kpod.distill.launch import tell


class Teller:
    """An observer that passes everything on to the launching process."""

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        tell("progress", description=description, done=done, total=total)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        tell("metrics", values=dict(values), step=step)

    def warning(self, message: str) -> None:
        tell("warning", message=message)


def agent(processes: int, job: str) -> None:
    from torch.distributed.run import main as torchrun

    torchrun(["--standalone", f"--nproc-per-node={processes}", "-m", "kpod.distill.worker", job])


def rank(job: Path) -> None:
    import torch.distributed

    from kpod.distill.ranks import ranks

    told = json.loads(job.read_text())
    module, name = told["part"]
    part = getattr(import_module(module), name)
    settings = getattr(config, told["settings"])
    inputs = {name: Path(folder) for name, folder in told["inputs"].items()}
    observers = [Teller()] if ranks().writes else []
    try:
        with observe.observing(*observers):
            figures = part(inputs, settings.model_validate(told["config"]), Path(told["out_dir"]))
    except errors.KpodError as error:
        if ranks().writes:
            tell("failure", error=type(error).__name__, message=str(error))
        raise SystemExit(2) from error
    if ranks().writes:
        tell("figures", values=figures)
    torch.distributed.destroy_process_group()


def main() -> None:
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("--processes", type=int)
    options = parser.parse_args()
    if options.processes:
        agent(options.processes, options.job)
    else:
        rank(Path(options.job))


if __name__ == "__main__":
    main()
