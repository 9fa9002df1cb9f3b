"""Progress, metrics and warnings that a stage reports while it runs.

Stages call these functions; whoever runs a stage installs observers (a progress bar, MLflow, a Prefect
artifact). Stages depend on this module only, so a change of tracking does not change their cache keys.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable


class Observer(Protocol):
    """Receives what stages report; every method must return fast and never raise."""

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        """`done` of `total` units of work; `seconds_left` is an estimate, None before the first unit is done."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Named scalars at `step`."""

    def warning(self, message: str) -> None:
        """A problem that does not stop the stage, in one line."""


@runtime_checkable
class Display(Observer, Protocol):
    """An observer that a person watches: it also receives the stages of a run and the figures beside a bar."""

    def heading(self, text: str) -> None:
        """What the next stages belong to, such as an arm of a sweep."""

    def stages_planned(self, stages: Sequence[tuple[str, str]]) -> None:
        """The stages that a run will execute, in order, each as (stage, method)."""

    def stage_started(self, name: str, method: str) -> None:
        """A run begins with a stage."""

    def stage_finished(self, name: str, method: str, seconds: float, computed: bool) -> None:
        """A run has the result of a stage after `seconds`: computed now, or read from the cache."""

    def beside(self, unit: str, figures: Mapping[str, object]) -> None:
        """The unit of the progress reported next, and figures to show beside its bar (loss, cost)."""


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
    if not _observers.get():
        print(f"warning: {message}", file=sys.stderr)
    for observer in _observers.get():
        observer.warning(message)


def heading(text: str) -> None:
    """Report what the next stages belong to, such as an arm of a sweep."""
    for display in _displays():
        display.heading(text)


def stages_planned(stages: Sequence[tuple[str, str]]) -> None:
    """Report the stages that a run will execute, in order, each as (stage, method)."""
    for display in _displays():
        display.stages_planned(stages)


def stage_started(name: str, method: str) -> None:
    """Report that a run begins with a stage."""
    for display in _displays():
        display.stage_started(name, method)


def stage_finished(name: str, method: str, seconds: float, computed: bool) -> None:
    """Report that a run has the result of a stage after `seconds`, computed now or read from the cache."""
    for display in _displays():
        display.stage_finished(name, method, seconds, computed)


def _displays() -> list[Display]:
    return [observer for observer in _observers.get() if isinstance(observer, Display)]


class Progress:
    """Progress of known length with an estimate of the time left, reported to the observers about once a second."""

    def __init__(self, description: str, total: float, unit: str, initial: float = 0) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._initial = self._done = initial
        self._started = self._reported = time.monotonic()
        self._figures: dict[str, object] = {}
        for display in _displays():  # at once, so that a slow first unit does not show under the previous bar
            display.beside(unit, {})
            display.progress(description, initial, total, None)

    def advance(self, amount: float = 1, **figures: object) -> None:
        """Advance by `amount`; `figures` are shown beside the bar (loss, cost, ...)."""
        self._done += amount
        self._figures |= figures
        now = time.monotonic()
        if now - self._reported >= 1 or self._done >= self._total:
            self._reported = now
            fresh = self._done - self._initial
            left = (now - self._started) / fresh * (self._total - self._done) if fresh > 0 else None
            for display in _displays():
                display.beside(self._unit, self._figures)
            for observer in _observers.get():
                observer.progress(self._description, self._done, self._total, left)


@contextmanager
def progress(description: str, total: float, unit: str = "it", initial: float = 0) -> Iterator[Progress]:
    """Report the progress of the code inside the block, in `unit`s up to `total`; an earlier attempt did `initial`."""
    yield Progress(description, total, unit, initial)
