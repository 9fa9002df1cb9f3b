"""Checkpoints of a training run: whole or absent, only the last kept."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kpod import observe, schemas
from kpod.errors import DataError
from kpod.store.files import publish
from kpod.training.sharding import distribute_like, full_tensor

Parameters = Mapping[str, torch.nn.Parameter]


@dataclass
class Position:
    """Where a run stands: optimizer steps done, the epoch and how many of its batches are done, target tokens seen,
    seconds of work in all attempts, what the objective remembers, the history.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tokens: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    objective: dict[str, Any] = field(default_factory=dict)  # JSON
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    work: Path,
    fingerprint: str,
    position: Position,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    writes: bool = True,
) -> None:
    """Write `work/checkpoint-<step>` and remove the older ones.

    `fingerprint` names the run (settings and data): a checkpoint of another run is never taken up. Ranks that hold
    parts of the weights all call this, and one of them `writes`.
    """
    tensors = {}
    for name, value in parameters.items():
        found = {"parameter": value.detach(), **optimizer.state[value]}
        for slot, tensor in found.items():
            full = full_tensor(tensor)
            if writes:
                tensors[f"{slot}.{name}"] = full.cpu().contiguous()
    if not writes:
        return
    building = work / "building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    save_file(tensors, building / "state.safetensors")
    schemas.write(building / "history.parquet", schemas.table(position.history, schemas.HISTORY))
    numbers = {name: value for name, value in vars(position).items() if name != "history"}
    about = {"fingerprint": fingerprint, **numbers}
    (building / "position.json").write_text(json.dumps(about))
    older = _found(work)
    publish(building, work / f"checkpoint-{position.step}")
    for path in older:
        shutil.rmtree(path)


def restore(work: Path, fingerprint: str, parameters: Parameters, optimizer: torch.optim.Optimizer) -> Position | None:
    """Load the last checkpoint of the run `fingerprint` into parameters and optimizer; None if there is none.

    One that cannot be read (a disk that lost bytes) is passed over with a warning.
    """
    for path in reversed(_found(work)):
        try:
            about = json.loads((path / "position.json").read_text())
            if about.pop("fingerprint") != fingerprint:
                continue
            tensors = load_file(path / "state.safetensors")
            history = schemas.read(path / "history.parquet", schemas.HISTORY).to_pylist()
            position = Position(**about, history=history)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, DataError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            observe.warning(f"{path.name} cannot be read and is passed over: {reason}")
            continue
        slots = {name.split(".", 1)[0] for name in tensors} - {"parameter"}
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(distribute_like(tensors[f"parameter.{name}"], value))
                for slot in slots:
                    state = tensors.get(f"{slot}.{name}")
                    if state is not None:  # a parameter that never had a gradient has none
                        # Adam counts its steps in a scalar, which no rank splits.
                        optimizer.state[value][slot] = (
                            distribute_like(state, value) if state.dim() else state.to(value.device)
                        )
        return position
    return None


def _found(work: Path) -> list[Path]:
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
