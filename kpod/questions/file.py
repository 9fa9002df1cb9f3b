"""A user's questions from JSONL (plain or gzip) or Parquet."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kpod.config import QuestionFile
from kpod.errors import DataError
from kpod.questions import rows
from kpod.questions.hub_sets import Fields, fields_of_columns
from kpod.questions.raw import Raw


def load(source: QuestionFile) -> Iterator[Raw]:
    """The rows of every file, unchecked. Raises DataError if a file is missing, unreadable, truncated or empty."""
    fields = fields_of_columns(source.dataset, source.columns) if source.columns else None
    for split, path in source.files.items():
        empty = True
        for number, row in islice(rows.read(path), source.limit.get(split)):
            empty = False
            yield Raw(source.dataset, split, _by_columns(fields, split, number, row) if fields else row)
        if empty and source.limit.get(split) != 0:
            raise DataError(f"{path} holds no question: fill it or take it out of questions.sources")


def _by_columns(fields: Fields, split: str, number: int, row: Any) -> Any:
    """A row's fields by the columns of the settings; a row without one of them becomes {"row": row}."""
    try:
        return fields(split, number, row)
    except KeyError:
        return {"row": row}
