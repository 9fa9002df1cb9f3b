"""A user's questions from JSONL (plain or gzip) or Parquet."""

from collections.abc import Iterator

from kpod.config import QuestionFile
from kpod.errors import DataError
from kpod.questions import rows
from kpod.questions.raw import Raw


def load(source: QuestionFile) -> Iterator[Raw]:
    """Every row of every file, as it stands there. Raises DataError for a missing, broken, cut or empty file."""
    for split, path in source.files.items():
        found = [row for _, row in rows.read(path)]
        if not found:
            raise DataError(f"{path} holds no question: fill it or take it out of questions.sources")
        for row in found[: source.limit.get(split)]:
            yield Raw(source.dataset, split, row)
