"""Checkpoints of a training run: complete or absent, and only the last one is kept.

If every rank has all weights, a checkpoint is one safetensors file. Sharded weights are written in the background by
torch.distributed.checkpoint. Both can be restored by any number of processes.
"""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException

from kpod import observe, schemas
from kpod.errors import DataError
from kpod.store.files import publish
from kpod.training import shards
from kpod.training.ranks import ranks
from kpod.training.sharding import distribute_like, is_sharded
from kpod.training.task import Position, Task

Parameters = Mapping[str, torch.nn.Parameter]
WHOLE, SHARDS = "state.safetensors", "shards"


class Checkpoints:
    """The checkpoints of one task in the folder `work`; all ranks call the methods together, rank 0 publishes.

    Checkpoints of another run, by the task's fingerprint, are never restored.
    """

    def __init__(self, work: Path, task: Task) -> None:
        self.work, self.task = work, task
        self.sharded = any(is_sharded(value) for value in task.parameters.values())
        self.writing: Future[Any] | None = None  # of shards, in the background
        self.step = 0

    def save(self, position: Position) -> None:
        """Write `checkpoint-<step>` and remove the older ones; shards are copied here and written in the background."""
        self.complete()
        self.step = position.step
        building = self.work / "building"
        if ranks().writes:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            schemas.write(building / "history.parquet", schemas.table(position.history, schemas.HISTORY))
            numbers = {name: value for name, value in vars(position).items() if name != "history"}
            (building / "position.json").write_text(json.dumps({"fingerprint": self.task.fingerprint, **numbers}))
        if self.sharded:
            ranks().wait()  # for the folder
            self.writing = shards.write(self._tensors(), building / SHARDS)
        elif ranks().writes:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in self._tensors().items()}
            save_file(tensors, building / WHOLE)
            self._publish()

    def busy(self) -> bool:
        """Whether shards are still being written; completed ones are published."""
        if self.writing is not None and self.writing.done():
            self.complete()
        return self.writing is not None

    def complete(self) -> None:
        """Wait for the shards that are being written, and publish them."""
        if self.writing is not None:
            self.writing.result()  # the first rank's ends when all have written
            self.writing = None
            if ranks().writes:
                self._publish()

    def restore(self) -> Position | None:
        """Load the last checkpoint of this run into the task's tensors; returns its position, None if there is none.

        A checkpoint that cannot be read is skipped with a warning.
        """
        for path in reversed(self._existing()):
            try:
                about = json.loads((path / "position.json").read_text())
                if about.pop("fingerprint") != self.task.fingerprint:
                    continue
                history = schemas.read(path / "history.parquet", schemas.HISTORY).to_pylist()
                position = Position(**about, history=history)
                with torch.no_grad():
                    self._load(path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError, CheckpointException, DataError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                observe.warning(f"{path.name} cannot be read and is passed over: {reason}")
                continue
            return position
        return None

    def size(self) -> int:
        """Bytes of a checkpoint that this rank writes: buffers, parameters and AdamW's two moments."""
        tensors = [*self.task.buffers.values(), *(value for p in self.task.parameters.values() for value in (p, p, p))]
        local = [value.to_local() if is_sharded(value) else value for value in tensors]
        return sum(value.numel() * value.element_size() for value in local)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """The tensors of a checkpoint, as `parameter.NAME`, `buffer.NAME` and `<state of the optimizer>.NAME`."""
        tensors = {f"buffer.{name}": tensor for name, tensor in self.task.buffers.items()}
        for name, value in self.task.parameters.items():
            tensors[f"parameter.{name}"] = value.detach()
            # A parameter that never had a gradient has no state.
            tensors |= {f"{slot}.{name}": state for slot, state in self.task.optimizer.state.get(value, {}).items()}
        return tensors

    def _load(self, path: Path) -> None:
        folder = path / SHARDS
        tensors = shards.read(folder, self._like) if folder.exists() else load_file(path / WHOLE)
        fused = self.task.optimizer.defaults.get("fused")
        for key, tensor in tensors.items():
            slot, name = key.split(".", 1)
            if slot == "buffer":
                self.task.buffers[name].copy_(tensor)
                continue
            value = self.task.parameters[name]
            if slot == "parameter":
                value.copy_(distribute_like(tensor, value))
            elif tensor.dim():
                self.task.optimizer.state[value][slot] = distribute_like(tensor, value)
            else:  # Adam's count of steps, which stays in main memory where the update is not fused
                self.task.optimizer.state[value][slot] = tensor.to(value.device) if fused else tensor

    def _like(self, key: str) -> torch.Tensor:
        """An empty tensor with the shape and sharding of the entry `key`, which is no scalar."""
        slot, name = key.split(".", 1)
        return torch.empty_like(self.task.buffers[name] if slot == "buffer" else self.task.parameters[name])

    def _publish(self) -> None:
        older = self._existing()
        publish(self.work / "building", self.work / f"checkpoint-{self.step}")
        for path in older:
            shutil.rmtree(path)

    def _existing(self) -> list[Path]:
        return sorted(self.work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
