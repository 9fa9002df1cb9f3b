"""Execution of a stage in several processes: start, forwarding of reports, clean-up."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kpod import errors, observe
from kpod.config import Difficulty, Distill, Evaluate, Weights
from kpod.store.liveness import kill_descendants
from kpod.training.extras import check_processes

MARK = "kpod-event:"  # in front of what a rank reports, on its stdout


def launch(
    part: Callable[..., dict[str, float]],
    inputs: Mapping[str, Path],
    config: Distill | Difficulty | Evaluate | Weights,
    out_dir: Path,
    unit: str,
) -> dict[str, float]:
    """Call `part(inputs, config, out_dir)` in this process, or in several ranks; returns its figures.

    Ranks are `config.processes` on this machine, or those of the config file `config.accelerate`, of whose machines
    this is the first. `part`: a function of a module that ranks can import; `unit`: the unit of its progress. The
    processes on this machine end with this one, however it ends. Raises the KpodError of `part`, ModelError if a rank
    dies without one, or ConfigError for more processes than GPUs.
    """
    accelerate = config.accelerate if isinstance(config, Distill) else None
    if config.processes == 1 and not accelerate:
        return part(inputs, config, out_dir)
    work = out_dir / "work"
    work.mkdir(exist_ok=True)
    job = work / "job.json"
    folders = {name: str(folder) for name, folder in inputs.items()}
    about = {"part": [part.__module__, part.__name__], "settings": type(config).__name__, "inputs": folders}
    job.write_text(json.dumps({**about, "out_dir": str(out_dir), "config": config.model_dump(mode="json")}))
    environment = dict(os.environ)
    if accelerate:
        how = ["--accelerate", str(accelerate.resolve())]
        _name_other_machines(accelerate.resolve(), job)
    else:
        check_processes(config.processes)
        how = ["--processes", str(config.processes)]
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config.processes)))
    command = [sys.executable, "-m", "kpod.training.worker", *how, str(job)]
    # In a process group of its own: Ctrl-C in a terminal reaches only this process, which ends the others.
    agent = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment, process_group=0
    )
    try:
        return _follow(agent, unit)
    finally:
        kill_descendants(agent.pid)
        agent.kill()
        agent.wait()


def _name_other_machines(accelerate: Path, job: Path) -> None:
    """Warn with the command that must be started on the other machines, if there are any."""
    machines = int(yaml.safe_load(accelerate.read_text(encoding="utf-8")).get("num_machines") or 1)
    if machines > 1:
        file = shlex.quote(str(accelerate))
        observe.warning(
            f"training begins when the other {machines - 1} machines join, each with its own rank, from 1 on:"
            f" accelerate launch --config_file {file} --machine_rank 1 -m kpod.training.worker {shlex.quote(str(job))}"
        )


def _follow(agent: subprocess.Popen[str], unit: str) -> dict[str, float]:
    """Forward events to the observers until the agent closes its output; returns the figures."""
    figures: dict[str, float] | None = None
    failure: errors.KpodError | None = None
    bars: dict[str, observe.Progress] = {}  # a stage may have several, and return to one
    done: dict[str, float] = {}
    for line in agent.stdout or ():
        if not line.startswith(MARK):
            print(line, end="", file=sys.stderr)
            continue
        event: dict[str, Any] = json.loads(line.removeprefix(MARK))
        match event.pop("kind"):
            case "metrics":
                observe.metrics(event["values"], event["step"])
            case "warning":
                observe.warning(event["message"])
            case "progress":
                shown = event["description"]
                if shown not in bars or event["done"] < done[shown]:
                    bars[shown] = observe.Progress(shown, event["total"], unit)
                    done[shown] = 0.0
                bars[shown].advance(event["done"] - done[shown])
                done[shown] = event["done"]
            case "figures":
                figures = event["values"]
            case "failure":
                failure = getattr(errors, event["error"])(event["message"])
    if failure is not None:
        raise failure
    if figures is None:
        raise errors.ModelError("a process of the stage died: see its last lines above")
    return figures


def send(kind: str, **event: Any) -> None:
    """Send an event from a rank to the process that launched it."""
    print(MARK + json.dumps({"kind": kind, **event}), flush=True)
