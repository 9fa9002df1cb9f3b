"""The data of a report, filled in by the stage; parts that are left out have no section."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from kpod.distill.points import Point
from kpod.evaluate.accuracy import Accuracy
from kpod.report.left_out import LeftOut
from kpod.report.settings import Lineage
from kpod.report.token_views import Shaded


@dataclass(frozen=True)
class Comparison:
    """Method `b` against method `a` on the same questions."""

    a: str
    b: str
    dataset: str
    split: str
    questions: int
    only_a: int  # questions that only `a` gets right
    only_b: int
    low: float  # 95% interval of accuracy(b) - accuracy(a), in [-1, 1]
    high: float
    p_value: float  # of the paired test
    p_holm: float | None = None  # corrected for all comparisons of the run, where there are more than three

    @property
    def difference(self) -> float:
        """accuracy(b) - accuracy(a), in [-1, 1]."""
        return (self.only_b - self.only_a) / self.questions if self.questions else 0.0


@dataclass(frozen=True)
class Cost:
    """The cost of one method's student, and what it was trained on; None if it is not known."""

    target_tokens: int
    epochs: float | None = None
    cpu_seconds: float | None = None  # of its training
    wall_seconds: float | None = None
    preparation_seconds: float | None = None  # CPU seconds of token weights, difficulty and curriculum
    rationales_a_question: float | None = None  # different ones to train on, mean over the questions
    left_out: float | None = None  # share of the target tokens in steps without a keypoint; None too if all are kept


@dataclass(frozen=True)
class Answered:
    """The answer of one student, with its tokens where a weighter of the run shades them."""

    method: str
    predicted: str | None
    correct: bool
    completion: str
    truncated: bool = False
    tokens: tuple[Shaded, ...] = ()


@dataclass(frozen=True)
class Example:
    """A question that only one of two students answers correctly, as do `only_a` and `only_b` questions of its set."""

    dataset: str
    split: str
    question_id: str
    question: str
    answer: str
    questions: int
    only_a: int
    only_b: int
    students: tuple[Answered, Answered]


@dataclass(frozen=True)
class ReportData:
    """Everything a report can show; each field but the title may stay empty.

    Tables follow `kpod.schemas`. Mappings by method keep their order: it is the order of rows, curves and colours.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)  # short lines under the heading: student, teacher, set
    accuracy: Sequence[Accuracy] = ()
    steps: Mapping[str, Mapping[int, Accuracy]] = field(default_factory=dict)  # by method and number of steps
    comparisons: Sequence[Comparison] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)  # by method; none of a student that was not trained
    example: Example | None = None  # a question that only one of two students gets right
    histories: Mapping[str, pa.Table] = field(default_factory=dict)  # HISTORY by method
    validations: Mapping[str, Sequence[Point]] = field(default_factory=dict)  # validation.json by method
    questions: pa.Table | None = None  # QUESTIONS; needed for token heat maps and samples
    rationales: pa.Table | None = None  # RATIONALES; teacher yield, and needed for token heat maps
    teachers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by name, of several: their report.json
    weights: pa.Table | None = None  # WEIGHTS
    left_out: LeftOut | None = None  # steps without a keypoint, marked in the heat maps
    tokenizer: Any = None  # the student's; needed for token heat maps
    difficulty: pa.Table | None = None  # DIFFICULTY
    curriculum: pa.Table | None = None  # CURRICULUM, with its metadata
    clusters: pa.Table | None = None  # CLUSTERS
    predictions: Mapping[str, pa.Table] = field(default_factory=dict)  # PREDICTIONS by method
    config: Mapping[str, Any] = field(default_factory=dict)  # the whole tree, nested
    lineage: Sequence[Lineage] = ()  # stages with the same key are shown as one


Row = TypeVar("Row")


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """The rows by their key, in the order in which they come."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
