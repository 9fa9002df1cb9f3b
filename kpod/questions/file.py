"""A user's questions from JSONL (plain or gzip) or Parquet."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kpod.config import QuestionFile
from kpod.errors import DataError
from kpod.questions import rows
from kpod.questions.hub_sets import Fields, described
from kpod.questions.raw import Raw


def load(source: QuestionFile) -> Iterator[Raw]:
    """Every row of every file, as it stands there. Raises DataError for a missing, broken, cut or empty file."""
    fields = described(source.dataset, source.columns) if source.columns else None
    for split, path in source.files.items():
        empty = True
        for number, row in islice(rows.read(path), source.limit.get(split)):
            empty = False
            yield Raw(source.dataset, split, _chosen(fields, split, number, row) if fields else row)
        if empty and source.limit.get(split) != 0:
            raise DataError(f"{path} holds no question: fill it or take it out of questions.sources")


def _chosen(fields: Fields, split: str, number: int, row: Any) -> Any:
    """The parts of a question by the columns of the settings; a row without one of them is left as it is."""
    try:
        return fields(split, number, row)
    except KeyError:
        return {"row": row}
