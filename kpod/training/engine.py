"""The training loop: optimizer steps until the budget is spent; a resumed run is bitwise identical."""

import time
from pathlib import Path
from typing import Any

import torch

from kpod import observe
from kpod.training.checkpoint import Checkpoints
from kpod.training.interval import Interval
from kpod.training.ranks import ranks
from kpod.training.task import Position, Task


class Engine:
    """Trains one task: epochs, steps, learning rate, history, progress, metrics and checkpoints.

    The tasks are students (`kpod.methods.task`) and the token weighter (`kpod.weighting.train`).
    """

    def __init__(self, task: Task, work: Path, checkpoint_seconds: float) -> None:
        """`work`: folder of the checkpoints; the last one of the same run is restored."""
        self.task, self.ranks = task, ranks()
        self.checkpoints = Checkpoints(work, task)
        restored = self.checkpoints.restore()
        self.position = restored or Position(state=task.state)
        if restored:
            task.state = restored.state
        else:
            task.initialize()
        self.interval = Interval(checkpoint_seconds, self.checkpoints.size())
        self.clock = time.monotonic(), time.process_time()

    def run(self) -> Position:
        """Train until the task is finished; returns the final position."""
        task, position = self.task, self.position
        total = task.expected()
        with observe.progress(task.name, total, task.unit, initial=min(position.done, total)) as bar:
            while not task.finished(position):
                self.run_epoch(bar)
        self.checkpoints.complete()
        task.finish()
        self.count_seconds()
        return position

    def run_epoch(self, bar: observe.Progress) -> None:
        """Train on the rest of an epoch, or until the budget is spent."""
        task, position, epoch = self.task, self.position, self.position.epoch
        batches = task.batches(epoch)
        last = False
        while not last:
            batch = batches[position.batch]
            figures = self.step(batch, len(batches))
            bar.advance(task.work(batch), epoch=epoch, **{name: f"{figures[name]:.4f}" for name in task.shown})
            last = position.batch == len(batches) or task.finished(position)
            if last:
                position.epoch, position.batch = epoch + 1, 0
                task.after_epoch(epoch, position)
            self.save_if_due()

    def step(self, batch: Any, batches: int) -> dict[str, float]:
        """One optimizer step on `batch`, one of `batches` in the epoch; returns its metrics."""
        task, position = self.task, self.position
        work = task.work(batch)
        rate = task.rate(position, work, batches)
        for group in task.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
        figures = task.backward(batch, position)
        task.optimizer.step()
        task.optimizer.zero_grad(set_to_none=True)
        position.step += 1
        position.batch += 1
        position.done += work
        figures |= {"lr": task.optimizer.param_groups[0]["lr"]}
        row = {"epoch": position.epoch, "step": position.step, "tokens": position.done, "difficulty": None}
        position.history.append(row | {name: figures[name] for name in ("loss", "lr")})
        task.report(figures | {"epoch": position.epoch}, position)
        task.after_step(position, last_of_epoch=position.batch == batches)
        return figures

    def save_if_due(self) -> None:
        """Write a checkpoint if one is due; rank 0 decides for all."""
        if not self.ranks.first(not self.checkpoints.busy() and self.interval.due()):
            return
        task, position, started = self.task, self.position, time.monotonic()
        position.state = task.state
        self.count_seconds()
        self.checkpoints.save(position)
        self.interval.saved(started)

    def count_seconds(self) -> None:
        """Add the wall seconds since the last call, and the CPU seconds of all ranks, which call this together."""
        wall, cpu = time.monotonic(), time.process_time()
        spent = torch.tensor(cpu - self.clock[1], device=next(iter(self.task.parameters.values())).device)
        self.position.cpu_seconds += float(self.ranks.total(spent))
        self.position.wall_seconds += wall - self.clock[0]
        self.clock = wall, cpu
