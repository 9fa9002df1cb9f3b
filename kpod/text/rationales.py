"""Kept rationales with their questions and steps, joined by key from the files of three stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod import schemas
from kpod.text.groups import Key, Keys

_ASKED, _TOLD = ("id", "question", "answer", "choices"), ("question_id", "sample", "rationale", "kept")
_CUT = ("question_id", "sample", "step", "char_start", "char_end")
CHUNK = 2048  # rationales that are Python objects at one time


@dataclass(frozen=True)
class Rationale:
    """One kept rationale with its question, the unit of weighting, difficulty and distillation."""

    question_id: str
    sample: int
    question: str
    choices: tuple[str, ...] | None
    answer: str  # gold
    text: str
    steps: tuple[tuple[int, int], ...]  # character span of each step; the spans tile `text`

    @property
    def key(self) -> Key:
        return self.question_id, self.sample


class Rationales(Sequence[Rationale]):
    """The kept rationales that have a question and steps, in the order of the questions, then of the samples.

    The columns stay columns: a `Rationale` is made when it is asked for.
    """

    def __init__(self, questions: pa.Table, rationales: pa.Table, steps: pa.Table) -> None:
        """Tables of `schemas.QUESTIONS`, `schemas.RATIONALES` and `schemas.STEPS`; of two rows with one key the first
        counts.
        """
        told = rationales.filter(rationales["kept"])
        question = pc.index_in(told["question_id"], value_set=questions["id"].combine_chunks())
        question = question.fill_null(-1).to_numpy()
        keys = Keys(told["question_id"], told["sample"])
        order, self._count = _steps_of(keys, steps)
        first = np.cumsum(self._count) - self._count
        usable = (question >= 0) & (self._count > 0)
        new = keys.find(told["question_id"], keys.sample) == np.arange(len(keys))
        rows = np.flatnonzero(usable & new)
        rows = rows[np.lexsort((keys.sample[rows], question[rows]))]
        self.lost = [
            (keys[int(row)], "no step" if question[row] >= 0 else "no question of this id")
            for row in np.flatnonzero(~usable & new)
        ]
        self._questions = questions.select(_ASKED).combine_chunks()
        self._question, self._row = question[rows], rows
        self._text = told["rationale"].cast(pa.large_string()).combine_chunks()
        self._first, self._count = first[rows], self._count[rows]
        self._bounds = [steps[name].to_numpy()[order] for name in ("char_start", "char_end")]
        self.keys = Keys(told["question_id"].take(pa.array(rows)), pa.array(keys.sample[rows]))

    def __len__(self) -> int:
        return len(self._row)

    @overload
    def __getitem__(self, place: int) -> Rationale: ...

    @overload
    def __getitem__(self, place: slice) -> list[Rationale]: ...

    def __getitem__(self, place: int | slice) -> Rationale | list[Rationale]:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self.take(np.array([range(len(self))[place]]))[0]

    def __iter__(self) -> Iterator[Rationale]:
        for first in range(0, len(self), CHUNK):
            yield from self[first : first + CHUNK]

    def take(self, places: np.ndarray) -> list[Rationale]:
        """The rationales at some places, int [m]."""
        asked = self._questions.take(pa.array(self._question[places])).to_pydict()
        texts = self._text.take(pa.array(self._row[places])).to_pylist()
        firsts, counts = self._first[places].tolist(), self._count[places].tolist()
        samples = self.keys.sample[places].tolist()
        starts, ends = self._bounds
        return [
            Rationale(
                question_id=name,
                sample=sample,
                question=question,
                choices=tuple(choices) if choices else None,
                answer=answer,
                text=text,
                steps=tuple(zip(starts[a : a + n].tolist(), ends[a : a + n].tolist(), strict=True)),
            )
            for name, sample, question, choices, answer, text, a, n in zip(
                asked["id"], samples, asked["question"], asked["choices"], asked["answer"], texts, firsts, counts,
                strict=True,
            )
        ]  # fmt: skip


def read_rationales(questions: Path, rationales: Path, steps: Path) -> Rationales:
    """The rationales of the folders of three stages."""
    return Rationales(
        schemas.read(questions / "questions.parquet", schemas.QUESTIONS, _ASKED),
        schemas.read(rationales / "rationales.parquet", schemas.RATIONALES, _TOLD),
        schemas.read(steps / "steps.parquet", schemas.STEPS, _CUT),
    )


def _steps_of(keys: Keys, steps: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `steps` in the order of `keys` and their number, and how many each key has; int64."""
    row = keys.find(steps["question_id"], steps["sample"].to_numpy())
    number = steps["step"].to_numpy()
    found = np.flatnonzero(row >= 0)
    ordered = np.diff(row[found]) > 0
    ordered |= (np.diff(row[found]) == 0) & (np.diff(number[found]) >= 0)
    if not ordered.all():
        found = found[np.lexsort((number[found], row[found]))]
    return found, np.bincount(row[found], minlength=len(keys))
