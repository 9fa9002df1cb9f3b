"""Stage `evaluate`: a student's answers to the questions of some splits, judged and counted."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod import models, schemas
from kpod.config import Evaluate
from kpod.errors import DataError
from kpod.evaluate.answers import answers_equal, extract_answer
from kpod.evaluate.generate import Completion, generate, longest_prompt
from kpod.evaluate.statistics import wilson
from kpod.files import write_text
from kpod.observe import warning
from kpod.questions.workout import work_out
from kpod.report.data import Accuracy, ReportData
from kpod.report.page import write_report
from kpod.sequences import prompt_ids

Row = dict[str, Any]
UNASKED = Completion("", truncated=True)


def run(inputs: Mapping[str, Path], config: Evaluate, out_dir: Path) -> dict[str, float]:
    """Ask `inputs["student"]` the questions of `config.splits` with the training prompt, greedily.

    Writes predictions.parquet, metrics.json and report.html. A question too long for the student stays in the table
    as truncated and wrong, so that all students are judged on the same questions. Questions without a gold answer
    and second rows of an id are set aside. Raises DataError if no usable question is in the splits.
    """
    table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
    asked, bad = _usable([row for row in table.to_pylist() if row["split"] in config.splits])
    if not asked:
        raise DataError(f"evaluate.splits: no usable question is in {', '.join(config.splits)}")
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
        warning(f"{len(bad)} questions are not asked, see quarantine.parquet")
    model, tokenizer = models.load(inputs["student"] / "student", config.precision)
    told, too_long = _ask(model, tokenizer, asked, config, out_dir / "work")
    rows = [_judged(row, told[row["id"]]) for row in asked]
    predictions = schemas.table(rows, schemas.PREDICTIONS)
    found = accuracies("student", predictions)
    schemas.write(out_dir / "predictions.parquet", predictions)
    write_text(out_dir / "metrics.json", json.dumps(_metrics(found, rows, asked), indent=1))
    data = ReportData(title="student", accuracy=found, questions=table, predictions={"student": predictions})
    write_report(out_dir / "report.html", data)
    return {
        "accuracy": _share(rows, lambda row: row["correct"]),
        "truncated": _share(rows, lambda row: row["truncated"]),
        "answerless": _share(rows, lambda row: row["predicted"] is None),
        "questions": len(rows),
        "quarantined": len(bad),
        "too_long": too_long,
        **{f"accuracy.{row.dataset}.{row.split}": row.accuracy for row in found},
    }


def accuracies(method: str, predictions: pa.Table) -> list[Accuracy]:
    """Right answers with 95% intervals, one entry a set, in the order of the table."""
    sets: dict[tuple[str, str], list[Row]] = {}
    for row in predictions.to_pylist():
        sets.setdefault((row["dataset"], row["split"]), []).append(row)
    return [_accuracy(method, dataset, split, rows) for (dataset, split), rows in sets.items()]


def as_dict(row: Accuracy) -> Row:
    """The entry with its accuracy, for JSON."""
    return {**vars(row), "accuracy": row.accuracy}


def _usable(rows: list[Row]) -> tuple[list[Row], list[dict[str, str]]]:
    kept: dict[str, Row] = {}
    bad = []
    for row in rows:
        reason = "the id occurs twice" if row["id"] in kept else "" if row["answer"].strip() else "no answer"
        if reason:
            bad.append({"source": "questions.parquet", "row": row["id"], "reason": reason})
        else:
            kept[row["id"]] = row
    return list(kept.values()), bad


def _ask(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: list[Row], config: Evaluate, work: Path
) -> tuple[dict[str, Completion], int]:
    """Completions by id, and how many questions are too long to be asked."""
    positions = longest_prompt(model, config.max_new_tokens)
    limit = config.max_tokens if positions is None else min(config.max_tokens, positions)
    lengths = {row["id"]: len(prompt_ids(tokenizer, row["question"], row["choices"])) for row in asked}
    fitting = [(row["id"], row["question"], row["choices"]) for row in asked if lengths[row["id"]] <= limit]
    too_long = len(asked) - len(fitting)
    if too_long:
        warning(f"evaluate: {too_long} prompts are longer than {limit} tokens and count as wrong")
    told = generate(model, tokenizer, fitting, config.batch_size, config.max_new_tokens, work)
    return {row["id"]: told.get(row["id"], UNASKED) for row in asked}, too_long


def _judged(row: Row, completion: Completion) -> Row:
    """A row of schemas.PREDICTIONS."""
    predicted = extract_answer(completion.text, row["choices"])
    return {
        "question_id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "completion": completion.text,
        "predicted": predicted,
        "answer": row["answer"],
        "correct": answers_equal(predicted, row["answer"]),
        "truncated": completion.truncated,
    }


def _metrics(found: list[Accuracy], rows: list[Row], asked: list[Row]) -> Row:
    """What metrics.json holds: all questions, each set, and the numbers of steps where the text tells them."""
    steps: dict[int, list[Row]] = {}
    for question, row in zip(asked, rows, strict=True):
        if worked := work_out(question["question"]):
            steps.setdefault(len(worked.steps), []).append(row)
    return {
        "overall": as_dict(_accuracy("student", "all", "all", rows)),
        "sets": [as_dict(row) for row in found],
        "steps": {str(n): as_dict(_accuracy("student", "all", "all", steps[n])) for n in sorted(steps)},
    }


def _accuracy(method: str, dataset: str, split: str, rows: list[Row]) -> Accuracy:
    correct = sum(row["correct"] for row in rows)
    low, high = wilson(correct, len(rows))
    truncated = _share(rows, lambda row: row["truncated"])
    answerless = _share(rows, lambda row: row["predicted"] is None)
    return Accuracy(method, dataset, split, len(rows), correct, low, high, truncated, answerless)


def _share(rows: list[Row], holds: Callable[[Row], bool]) -> float:
    return sum(map(holds, rows)) / len(rows)
