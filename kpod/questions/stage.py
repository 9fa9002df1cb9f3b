"""Stage `questions`: all sources in one table, bad rows set aside with a reason."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kpod import observe, schemas
from kpod.config import QuestionFile, Questions, Source, WordProblems
from kpod.errors import DataError
from kpod.questions.load import from_files, from_hub
from kpod.questions.wordproblems import generate


def run(inputs: Mapping[str, Path], config: Questions, out_dir: Path) -> dict[str, float]:
    """Write questions.parquet, and quarantine.parquet if a row is unusable.

    Unusable: no id, question or answer, an id that came before, a training question that is also asked in an
    evaluation split. Raises DataError if a source cannot be read or nothing usable is left.
    """
    rows = [row for source in config.sources for row in _rows(source)]
    kept, bad = check(rows)
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
        observe.warning(f"questions: {len(bad)} rows set aside, see quarantine.parquet ({bad[0]['reason']}, ...)")
    if not kept:
        raise DataError(f"questions: none of {len(rows)} rows is usable; look at questions.sources")
    schemas.write(out_dir / "questions.parquet", schemas.table(kept, schemas.QUESTIONS))
    splits = {split: sum(row["split"] == split for row in kept) for split in ("train", "validation", "test")}
    return {"questions": len(kept), "quarantined": len(bad), **splits}


def check(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Usable rows in their order, and rows of `schemas.QUARANTINE` for the others."""
    asked = {_folded(row["question"]) for row in rows if row["split"] != "train"}
    kept: list[dict[str, Any]] = []
    bad: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, row in enumerate(rows):
        reason = _reason(row, seen, asked)
        if reason:
            bad.append({"source": row["dataset"], "row": row["id"] or f"row {number}", "reason": reason})
        else:
            seen.add(row["id"])
            kept.append(row)
    return kept, bad


def _reason(row: dict[str, Any], seen: set[str], asked: set[str]) -> str | None:
    for name in ("id", "question", "answer"):
        if not row[name].strip():
            return f"no {name}"
    if row["id"] in seen:
        return "the id came before"
    if row["split"] == "train" and _folded(row["question"]) in asked:
        return "the question is asked in an evaluation split"
    return None


def _folded(question: str) -> str:
    return " ".join(question.lower().split())


def _rows(source: Source) -> Iterable[dict[str, Any]]:
    if isinstance(source, WordProblems):
        return generate(source)
    return from_files(source) if isinstance(source, QuestionFile) else from_hub(source)
