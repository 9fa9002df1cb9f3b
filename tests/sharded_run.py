"""Trains tiny students on the ranks of torchrun, one job after the other; started by test_distill_sharding."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from distill_tiny import halving, rows, tokenizer
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from kpod.config import Distill, Validation
from kpod.distill import validation
from kpod.distill.validation import Validator
from kpod.methods.train import train
from kpod.training import interval, models, sharding
from kpod.training.checkpoint import Checkpoints
from kpod.training.engine import Engine
from kpod.training.ranks import ranks
from kpod.training.sharding import full_tensor
from kpod.training.task import Position

ASKED = [
    {"id": f"v{i}", "dataset": "d", "split": "validation", "question": f"What is {i}?", "answer": "7", "choices": None}
    for i in range(5)
]


class Stopped(Exception):
    pass


def write_state(checkpoints: Checkpoints, path: Path) -> None:
    """The weights and the optimizer's state, whole; all ranks call this, the first one writes."""
    tensors = {name: full_tensor(value).contiguous() for name, value in checkpoints._tensors().items()}
    if ranks().writes:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path)


def job(student: str, work: str, out: str, stop: int = 0, validate: bool = False, **settings: Any) -> None:
    """Train the model folder `student`, saving whenever it can; the first rank writes `out`.

    With `stop` the run ends at the checkpoint of that step, and leaves its state in `out/stopped.safetensors`; one that
    goes on writes what it starts from to `out/restored.safetensors`. `out/told.json`: losses, steps of this attempt,
    answers, and the largest number of parameters that a device held before they were sharded.
    """
    largest = [0]
    fully_shard = sharding.fully_shard

    def counting(unit: Any, **options: Any) -> Any:
        largest[0] = max(largest[0], sum(p.numel() for p in unit.parameters() if not isinstance(p, DTensor)))
        assert all(not p.is_meta for p in unit.parameters())
        return fully_shard(unit, **options)

    save, step, steps = Checkpoints.save, Engine.step, [0]

    def stopping(self: Checkpoints, position: Position) -> None:
        save(self, position)
        if stop:
            self.complete()
        if position.step == stop:
            write_state(self, Path(out) / "stopped.safetensors")
            raise Stopped

    def stepping(self: Engine, *arguments: Any) -> Any:
        if not steps[0] and self.position.step:
            write_state(self.checkpoints, Path(out) / "restored.safetensors")
        steps[0] += 1
        return step(self, *arguments)

    answers: list[tuple[str, str]] = []
    generate = validation.generate

    def recording(*arguments: Any, **options: Any) -> Any:
        found = generate(*arguments, **options)
        answers.extend((key, completion.text) for key, completion in found.items())
        return found

    sharding.fully_shard, Checkpoints.save, Engine.step = counting, stopping, stepping
    validation.generate, interval.RATIO = recording, 0
    try:
        sharded = settings.get("sharding") and ranks().world > 1
        where = torch.device("cpu" if ranks().writes else "meta") if sharded else None
        model, _ = models.load(Path(student), where=where)
        config = Distill(
            **{"budget": {"epochs": 3}, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "checkpoint_seconds": 1e-9}
            | settings
        )
        validator = Validator(ASKED, tokenizer(), Validation(max_new_tokens=8, batch_size=2)) if validate else None
        ended = train(model, tokenizer(), rows(20), config, halving(rows(20)), Path(work), validator)
    except Stopped:
        return
    finally:
        sharding.fully_shard, Checkpoints.save, Engine.step = fully_shard, save, step
        validation.generate = generate
    answers = ranks().collect(answers)
    if ranks().writes:
        model.save_pretrained(out)
        told = {"history": ended.history, "largest": largest[0], "answers": sorted(answers), "steps": steps[0]}
        (Path(out) / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for one in json.loads(Path(sys.argv[1]).read_text()):
        job(**one)
    ranks().wait()  # if the exit of a rank fails, torchrun kills the others: none leaves before all have written
    torch.distributed.destroy_process_group()
