"""Progress, metrics and warnings that a stage reports while it runs.

Stages call these functions; whoever runs a stage installs observers (a progress bar, MLflow, a Prefect
artifact). Stages depend on this module only, so a change of tracking does not change their cache keys.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from tqdm import tqdm


class Observer(Protocol):
    """Receives what stages report; every method must return fast and never raise."""

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def warning(self, message: str) -> None: ...


_observers: ContextVar[tuple[Observer, ...]] = ContextVar("kpod_observers", default=())


@contextmanager
def observing(*observers: Observer) -> Iterator[None]:
    """Install observers for the code inside the `with` block (nested blocks add to the outer ones)."""
    token = _observers.set((*_observers.get(), *observers))
    try:
        yield
    finally:
        _observers.reset(token)


def metrics(values: Mapping[str, float], step: int = 0) -> None:
    """Report named scalars at `step` (an integer that grows within a stage: target tokens, optimizer steps)."""
    for observer in _observers.get():
        observer.metrics(values, step)


def warning(message: str) -> None:
    """Report a problem that does not stop the stage."""
    tqdm.write(f"warning: {message}", file=sys.stderr)
    for observer in _observers.get():
        observer.warning(message)


class Progress:
    """A progress bar of known length with an estimate of the time left."""

    def __init__(self, description: str, total: float, unit: str, initial: float = 0) -> None:
        self._bar = tqdm(desc=description, total=total, unit=unit, initial=initial, mininterval=0.5, leave=True)
        self._description, self._total, self._initial = description, total, initial
        self._started = self._reported = time.monotonic()

    def advance(self, amount: float = 1, **figures: object) -> None:
        """Advance by `amount`; `figures` are shown beside the bar (loss, cost, ...)."""
        self._bar.update(amount)
        if figures:
            self._bar.set_postfix(figures, refresh=False)
        now = time.monotonic()
        if now - self._reported >= 1 or self._bar.n >= self._total:
            self._reported = now
            done = self._bar.n - self._initial
            left = (now - self._started) / done * (self._total - self._bar.n) if done > 0 else None
            for observer in _observers.get():
                observer.progress(self._description, self._bar.n, self._total, left)

    def close(self) -> None:
        self._bar.close()


@contextmanager
def progress(description: str, total: float, unit: str = "it", initial: float = 0) -> Iterator[Progress]:
    """Show a progress bar for the code inside the block; `initial` is the progress of an earlier attempt."""
    bar = Progress(description, total, unit, initial)
    try:
        yield bar
    finally:
        bar.close()
