"""Checkpoints of a training run: whole or absent, only the last kept."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kpod import observe, schemas
from kpod.errors import DataError
from kpod.store.files import publish
from kpod.training.ranks import ranks
from kpod.training.sharding import distribute_like, full_tensor
from kpod.training.task import Position

Parameters = Mapping[str, torch.nn.Parameter]
Buffers = Mapping[str, torch.Tensor]


def save(
    work: Path,
    fingerprint: str,
    position: Position,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    buffers: Buffers,
) -> None:
    """Write `work/checkpoint-<step>` and remove the older ones; all ranks call this, the first one writes.

    `fingerprint` names the run (settings and data): a checkpoint of another run is never taken up.
    """
    writes = ranks().writes
    tensors = {}
    for name, tensor in _tensors(parameters, optimizer, buffers).items():
        full = full_tensor(tensor)
        if writes:
            tensors[name] = full.cpu().contiguous()
    if not writes:
        return
    building = work / "building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    save_file(tensors, building / "state.safetensors")
    schemas.write(building / "history.parquet", schemas.table(position.history, schemas.HISTORY))
    numbers = {name: value for name, value in vars(position).items() if name != "history"}
    (building / "position.json").write_text(json.dumps({"fingerprint": fingerprint, **numbers}))
    older = _found(work)
    publish(building, work / f"checkpoint-{position.step}")
    for path in older:
        shutil.rmtree(path)


def restore(
    work: Path, fingerprint: str, parameters: Parameters, optimizer: torch.optim.Optimizer, buffers: Buffers
) -> Position | None:
    """Load the last checkpoint of the run `fingerprint` into its tensors; None if there is none.

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
        with torch.no_grad():
            for name, tensor in tensors.items():
                _put(name, tensor, parameters, optimizer, buffers)
        return position
    return None


def size(parameters: Parameters, optimizer: torch.optim.Optimizer, buffers: Buffers) -> int:
    """Bytes of a checkpoint; of one before the first step as if AdamW had its two moments."""
    found = _tensors(parameters, optimizer, buffers)
    count = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    moments = 0 if optimizer.state else 2 * sum(p.numel() * p.element_size() for p in parameters.values())
    return count + moments


def _tensors(parameters: Parameters, optimizer: torch.optim.Optimizer, buffers: Buffers) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint holds, as `parameter.NAME`, `buffer.NAME` and `<state of the optimizer>.NAME`."""
    found = {f"buffer.{name}": tensor for name, tensor in buffers.items()}
    for name, value in parameters.items():
        found[f"parameter.{name}"] = value.detach()
        # A parameter that never had a gradient has no state.
        found |= {f"{slot}.{name}": tensor for slot, tensor in optimizer.state.get(value, {}).items()}
    return found


def _put(
    name: str, tensor: torch.Tensor, parameters: Parameters, optimizer: torch.optim.Optimizer, buffers: Buffers
) -> None:
    slot, name = name.split(".", 1)
    if slot == "buffer":
        buffers[name].copy_(tensor)
    elif slot == "parameter":
        parameters[name].copy_(distribute_like(tensor, parameters[name]))
    else:
        value = parameters[name]
        # Adam's scalar count of steps is not sharded; where the update is not fused it stays in main memory.
        fused = optimizer.defaults.get("fused")
        whole = tensor.to(value.device) if fused else tensor
        optimizer.state[value][slot] = distribute_like(tensor, value) if tensor.dim() else whole


def _found(work: Path) -> list[Path]:
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
