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

_QUESTION_COLUMNS = ("id", "question", "answer", "choices")
_RATIONALE_COLUMNS = ("question_id", "sample", "rationale", "kept")
_STEP_COLUMNS = ("question_id", "sample", "step", "char_start", "char_end")
CHUNK = 2048  # rationales that are Python objects at one time


@dataclass(frozen=True)
class Rationale:
    """One kept rationale with its question and steps."""

    question_id: str
    sample: int
    question: str
    choices: tuple[str, ...] | None
    answer: str  # gold
    text: str
    steps: tuple[tuple[int, int], ...]  # character span of each step; the spans tile `text`

    @property
    def key(self) -> Key:
        """(question_id, sample)."""
        return self.question_id, self.sample


class Rationales(Sequence[Rationale]):
    """The kept rationales that have a question and steps, in the order of the questions, then of the samples.

    They are stored as columns; a `Rationale` is created on access. `lost`: keys of the others, with the reason.
    """

    def __init__(self, questions: pa.Table, rationales: pa.Table, steps: pa.Table) -> None:
        """Tables of `schemas.QUESTIONS`, `schemas.RATIONALES` and `schemas.STEPS`; the first row of a key is used."""
        kept = rationales.filter(rationales["kept"])
        question = pc.index_in(kept["question_id"], value_set=questions["id"].combine_chunks())
        question = question.fill_null(-1).to_numpy()
        keys = Keys(kept["question_id"], kept["sample"])
        order, self._count = _steps_of(keys, steps)
        first = np.cumsum(self._count) - self._count
        usable = (question >= 0) & (self._count > 0)
        new = keys.find(kept["question_id"], keys.sample) == np.arange(len(keys))
        rows = np.flatnonzero(usable & new)
        rows = rows[np.lexsort((keys.sample[rows], question[rows]))]
        self.lost = [
            (keys[int(row)], "no step" if question[row] >= 0 else "no question of this id")
            for row in np.flatnonzero(~usable & new)
        ]
        self._questions = questions.select(_QUESTION_COLUMNS).combine_chunks()
        self._question, self._row = question[rows], rows
        self._text = kept["rationale"].cast(pa.large_string()).combine_chunks()
        self._first, self._count = first[rows], self._count[rows]
        self._bounds = [steps[name].to_numpy()[order] for name in ("char_start", "char_end")]
        self.keys = Keys(kept["question_id"].take(pa.array(rows)), pa.array(keys.sample[rows]))

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
        """The rationales at positions int [m]."""
        columns = self._questions.take(pa.array(self._question[places])).to_pydict()
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
                columns["id"], samples, columns["question"], columns["choices"], columns["answer"], texts, firsts,
                counts, strict=True,
            )
        ]  # fmt: skip


def read_rationales(questions: Path, rationales: Path, steps: Path) -> Rationales:
    """The rationales in the folders of three stages. Raises DataError as `schemas.read`."""
    return Rationales(
        schemas.read(questions / "questions.parquet", schemas.QUESTIONS, _QUESTION_COLUMNS),
        schemas.read(rationales / "rationales.parquet", schemas.RATIONALES, _RATIONALE_COLUMNS),
        schemas.read(steps / "steps.parquet", schemas.STEPS, _STEP_COLUMNS),
    )


def _steps_of(keys: Keys, steps: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `steps`, int64, sorted by the position of their key and step number, and their count for each key."""
    row = keys.find(steps["question_id"], steps["sample"].to_numpy())
    number = steps["step"].to_numpy()
    rows = np.flatnonzero(row >= 0)
    ordered = np.diff(row[rows]) > 0
    ordered |= (np.diff(row[rows]) == 0) & (np.diff(number[rows]) >= 0)
    if not ordered.all():
        rows = rows[np.lexsort((number[rows], row[rows]))]
    return rows, np.bincount(row[rows], minlength=len(keys))
