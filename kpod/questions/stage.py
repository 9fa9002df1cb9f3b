"""Stage `questions`: all sources in one table; unusable rows are quarantined."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kpod import schemas
from kpod.config import QuestionFile, QuestionHub, Questions, WordProblems
from kpod.errors import DataError
from kpod.observe import warning
from kpod.questions import file, wordproblems
from kpod.questions.raw import BadRow, Raw, kind_of, question_row

EVALUATION = ("validation", "test")


def run(inputs: Mapping[str, Path], config: Questions, out_dir: Path) -> dict[str, float]:
    """Write questions.parquet (schemas.QUESTIONS), in the order of the sources.

    Quarantined with a reason: rows that are no object or lack an id, a question or an answer; the second row with an
    id; and training questions whose text is also in an evaluation split. Raises DataError if no row is left. Returns
    counts of rows, by set and split, and by kind of answer.
    """
    rows: list[tuple[Raw, dict[str, Any]]] = []
    bad: list[dict[str, str]] = []
    for source in config.sources:
        for raw in _load(source):
            try:
                rows.append((raw, question_row(raw)))
            except BadRow as reason:
                bad.append({"source": raw.source, "row": raw.shown, "reason": str(reason)})
    kept = _without_duplicates_and_leaks(rows, bad)
    if not kept:
        common = Counter(row["reason"] for row in bad).most_common(1)
        raise DataError(f"questions.sources hold no usable question (most common reason: {common[0][0]})")
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
        reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(r["reason"] for r in bad).most_common())
        warning(f"{len(bad)} questions are set aside in quarantine.parquet: {reasons}")
    schemas.write(out_dir / "questions.parquet", schemas.table(kept, schemas.QUESTIONS))
    counts = Counter(f"questions.{row['dataset']}.{row['split']}" for row in kept)
    return {"questions": len(kept), "quarantined": len(bad), **counts, **_kinds_of_answers(kept)}


def _load(source: WordProblems | QuestionFile | QuestionHub) -> Iterator[Raw]:
    if isinstance(source, WordProblems):
        for row in wordproblems.generate(source):
            yield Raw(str(row["dataset"]), str(row["split"]), row)
    elif isinstance(source, QuestionFile):
        yield from file.load(source)
    else:
        from kpod.questions import hub  # imports `datasets`, which the other sources can do without

        yield from hub.load(source)


def _without_duplicates_and_leaks(
    rows: list[tuple[Raw, dict[str, Any]]], bad: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """The rows to keep; the others are added to `bad`."""
    evaluated = {_same(row["question"]): row for _, row in rows if row["split"] in EVALUATION}
    ids: set[str] = set()
    kept = []
    for raw, row in rows:
        reason = None
        if row["id"] in ids:
            reason = "the id occurs twice"
        elif row["split"] == "train" and (copy := evaluated.get(_same(row["question"]))):
            reason = f"the text is also in {copy['dataset']}/{copy['split']}"
        if reason:
            bad.append({"source": raw.source, "row": raw.shown, "reason": reason})
        else:
            ids.add(row["id"])
            kept.append(row)
    return kept


def _same(question: str) -> str:
    return " ".join(question.casefold().split())


def _kinds_of_answers(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Number of answers that are options, numbers and texts; warns where a set mixes them."""
    kinds: dict[str, Counter[str]] = {}
    for row in rows:
        kinds.setdefault(row["dataset"], Counter())[kind_of(row)] += 1
    for dataset, count in kinds.items():
        if len(count) > 1:
            counts = ", ".join(f"{n} {kind}" for kind, n in sorted(count.items()))
            warning(f"{dataset} mixes kinds of answers: {counts}")
    total: Counter[str] = sum(kinds.values(), Counter())
    return {f"answers.{kind}": number for kind, number in sorted(total.items())}
