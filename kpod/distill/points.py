"""What a student answered after each epoch (validation.json), and which epoch is kept for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "validation.json"


@dataclass(frozen=True)
class Point:
    """The student behind an epoch: `tokens` target tokens trained on until then, `right` answers to `questions`."""

    epoch: int
    tokens: int
    right: int
    questions: int

    @property
    def accuracy(self) -> float:
        return self.right / self.questions


def best(points: Sequence[Point]) -> Point:
    """The point with most right answers, of equals the last: it has seen more."""
    return max(points, key=lambda point: (point.right, point.epoch))


def read(path: Path) -> list[Point]:
    """The points that a file holds; none if there is no file, as after a training that nobody watched."""
    return [Point(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def written(points: Sequence[Point]) -> str:
    """The text of the file that holds `points`."""
    return json.dumps([vars(point) for point in points], indent=1)
