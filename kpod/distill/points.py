"""Validation accuracy after each epoch (validation.json), and the choice of the epoch that is kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "validation.json"


@dataclass(frozen=True)
class Point:
    """The validation after an epoch."""

    epoch: int
    tokens: int  # target tokens trained on so far
    right: int  # right answers
    questions: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.questions


def best(points: Sequence[Point]) -> Point:
    """The point with the most right answers; of equal ones the last."""
    return max(points, key=lambda point: (point.right, point.epoch))


def read(path: Path) -> list[Point]:
    """The points in a file; empty if it does not exist, as after training without validation."""
    return [Point(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def written(points: Sequence[Point]) -> str:
    """The points as the text of a file."""
    return json.dumps([vars(point) for point in points], indent=1)
