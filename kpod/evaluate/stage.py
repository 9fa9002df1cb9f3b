"""Stage `evaluate`: a student's answers to the questions of some splits, judged and counted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod import models, schemas
from kpod.config import Evaluate
from kpod.errors import DataError
from kpod.evaluate.answers import answers_equal, extract_answer
from kpod.evaluate.generate import generate
from kpod.evaluate.statistics import wilson
from kpod.files import write_text
from kpod.report.data import Accuracy, ReportData
from kpod.report.page import write_report


def run(inputs: Mapping[str, Path], config: Evaluate, out_dir: Path) -> dict[str, float]:
    """Ask `inputs["student"]` the questions of `config.splits` with the training prompt, greedily.

    Writes predictions.parquet, metrics.json and report.html. Raises DataError if no question is in the splits.
    """
    table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
    asked = [row for row in table.to_pylist() if row["split"] in config.splits]
    if not asked:
        raise DataError(f"evaluate.splits: no question is in {', '.join(config.splits)}")
    model, tokenizer = models.load(inputs["student"] / "student", config.precision)
    told = generate(
        model, tokenizer, [(row["id"], row["question"], row["choices"]) for row in asked],
        config.batch_size, config.max_new_tokens, out_dir / "work",
    )  # fmt: skip
    rows = []
    for row in asked:
        completion = told[row["id"]]
        predicted = extract_answer(completion.text, row["choices"])
        rows.append(
            {
                "question_id": row["id"], "dataset": row["dataset"], "split": row["split"],
                "completion": completion.text, "predicted": predicted, "answer": row["answer"],
                "correct": answers_equal(predicted, row["answer"]), "truncated": completion.truncated,
            }
        )  # fmt: skip
    predictions = schemas.table(rows, schemas.PREDICTIONS)
    found = accuracies("student", predictions)
    schemas.write(out_dir / "predictions.parquet", predictions)
    write_text(out_dir / "metrics.json", json.dumps([as_dict(row) for row in found], indent=1))
    data = ReportData(title="student", accuracy=found, questions=table, predictions={"student": predictions})
    write_report(out_dir / "report.html", data)
    figures = {f"accuracy.{row.dataset}.{row.split}": row.accuracy for row in found}
    return {
        "accuracy": sum(row["correct"] for row in rows) / len(rows),
        "truncated": sum(row["truncated"] for row in rows) / len(rows),
        "answerless": sum(row["predicted"] is None for row in rows) / len(rows),
        **figures,
    }


def accuracies(method: str, predictions: pa.Table) -> list[Accuracy]:
    """Right answers with 95% intervals, one entry a set, in the order of the table."""
    sets: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in predictions.to_pylist():
        sets.setdefault((row["dataset"], row["split"]), []).append(row)
    result = []
    for (dataset, split), rows in sets.items():
        n, correct = len(rows), sum(row["correct"] for row in rows)
        low, high = wilson(correct, n)
        truncated = sum(row["truncated"] for row in rows) / n
        answerless = sum(row["predicted"] is None for row in rows) / n
        result.append(Accuracy(method, dataset, split, n, correct, low, high, truncated, answerless))
    return result


def as_dict(row: Accuracy) -> dict[str, Any]:
    """The entry with its accuracy, for JSON."""
    return {**vars(row), "accuracy": row.accuracy}
