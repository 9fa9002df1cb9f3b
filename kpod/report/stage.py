"""Stage `report`: accuracy, paired comparisons and pictures over all methods of a pipeline, on one page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoTokenizer

from kpod import schemas
from kpod.distill import points
from kpod.distill.points import Point
from kpod.evaluate.accuracy import Accuracy, accuracies, as_dict, by_steps
from kpod.evaluate.compare import compare
from kpod.report.curriculum import write_curriculum_figures
from kpod.report.data import Comparison, ReportData, StageRun
from kpod.report.headline import headline
from kpod.report.page import write_report
from kpod.report.settings import ReportSettings
from kpod.report.tokens import write_token_view
from kpod.store.files import write_text
from kpod.store.keys import identity

# Files that the report shows as they are, from the stage that the last method used.
_TABLES = {
    "questions": ("questions", schemas.QUESTIONS),
    "rationales": ("rationales", schemas.RATIONALES),
    "weights": ("weights", schemas.WEIGHTS),
    "difficulty": ("difficulty", schemas.DIFFICULTY),
    "curriculum": ("curriculum", schemas.CURRICULUM),
    "clusters": ("curriculum", schemas.CLUSTERS),
}


def run(inputs: Mapping[str, Path], config: ReportSettings, out_dir: Path) -> dict[str, float]:
    """Read what the methods left (`<method>.<stage>` -> folder) and write the page, the table and the pictures.

    Writes report.html, summary.md, summary.json and, where there are weights and a curriculum, figures/.
    """
    methods: list[str] = [method for method in config.pipeline.methods if f"{method}.evaluate" in inputs]
    predictions = {
        method: schemas.read(inputs[f"{method}.evaluate"] / "predictions.parquet", schemas.PREDICTIONS)
        for method in methods
    }
    tables = {name: _table(inputs, stage, f"{name}.parquet", schema) for name, (stage, schema) in _TABLES.items()}
    questions = tables["questions"]
    data = ReportData(
        title=config.pipeline.name,
        facts={"student": config.pipeline.student.kind, "teacher": config.pipeline.teacher.model},
        accuracy=[row for method, table in predictions.items() for row in accuracies(method, table)],
        steps={} if questions is None else {m: by_steps(m, table, questions) for m, table in predictions.items()},
        comparisons=_comparisons(predictions),
        histories=_histories(inputs, methods),
        validations=_validations(inputs, methods),
        predictions=predictions,
        config=identity(config.pipeline),  # a file by its content: where it lies on a machine is nobody's business
        lineage=[StageRun(stage=row.name, key=row.key, run_id=row.run_id) for row in config.lineage],
        tokenizer=_tokenizer(inputs),
        **tables,
    )
    write_report(out_dir / "report.html", data)
    write_text(out_dir / "summary.md", markdown(data.accuracy, data.comparisons))
    write_text(out_dir / "summary.json", json.dumps(_summary(data), indent=1))
    figures = out_dir / "figures"
    figures.mkdir(exist_ok=True)
    if data.weights is not None and data.questions is not None and data.rationales is not None:
        paths = (figures / "tokens.html", figures / "tokens.png")
        write_token_view(data.weights, data.questions, data.rationales, data.tokenizer, *paths)
    if data.curriculum is not None and data.difficulty is not None and data.clusters is not None:
        write_curriculum_figures(data.curriculum, data.difficulty, data.clusters, figures)
    return {"methods": len(methods)}


def markdown(accuracy: Sequence[Accuracy], comparisons: Sequence[Comparison]) -> str:
    """The table that a run ends with."""
    lines = ["| method | set | questions | accuracy | 95% | truncated |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.method} | {row.dataset} {row.split} | {row.questions} | {row.accuracy:.1%} |"
        f" {row.low:.1%} to {row.high:.1%} | {row.truncated:.1%} |"
        for row in accuracy
    ]
    if comparisons:
        lines += ["", "| paired | set | difference | 95% | p (McNemar) |", "|---|---|---|---|---|"]
        lines += [
            f"| {row.b} - {row.a} | {row.dataset} {row.split} | {100 * row.difference:+.1f} points |"
            f" {100 * row.low:+.1f} to {100 * row.high:+.1f} | {row.p_value:.3g} |"
            for row in comparisons
        ]
    return "\n".join(lines) + "\n"


def _comparisons(predictions: Mapping[str, pa.Table]) -> list[Comparison]:
    """The last method against each of the others."""
    *others, last = predictions or [""]
    return [
        Comparison(
            a=other, b=last, dataset=one.dataset, split=one.split, questions=one.questions,
            only_a=len(one.only_a), only_b=len(one.only_b), low=one.low, high=one.high, p_value=one.p_value,
        )
        for other in others
        for one in compare(predictions[other], predictions[last]).sets
    ]  # fmt: skip


def _histories(inputs: Mapping[str, Path], methods: Sequence[str]) -> dict[str, pa.Table]:
    found = {method: inputs.get(f"{method}.distill") for method in methods}
    return {m: schemas.read(folder / "history.parquet", schemas.HISTORY) for m, folder in found.items() if folder}


def _validations(inputs: Mapping[str, Path], methods: Sequence[str]) -> dict[str, list[Point]]:
    found = {m: points.read(inputs[f"{m}.distill"] / points.FILE) for m in methods if f"{m}.distill" in inputs}
    return {method: told for method, told in found.items() if told}


def _summary(data: ReportData) -> dict[str, Any]:
    found = headline(data.accuracy, data.comparisons)
    return {
        "headline": found.as_dict() if found else None,
        "accuracy": [as_dict(row) for row in data.accuracy],
        "comparisons": [{**vars(row), "difference": row.difference} for row in data.comparisons],
    }


def _last(inputs: Mapping[str, Path], stage: str) -> Path | None:
    """The folder of a stage as the last method that has one used it."""
    found = [folder for name, folder in inputs.items() if name.endswith(f".{stage}")]
    return found[-1] if found else None


def _table(inputs: Mapping[str, Path], stage: str, name: str, schema: pa.Schema) -> pa.Table | None:
    folder = _last(inputs, stage)
    return schemas.read(folder / name, schema) if folder else None


def _tokenizer(inputs: Mapping[str, Path]) -> Any:
    folder = _last(inputs, "base")
    return AutoTokenizer.from_pretrained(folder / "student", local_files_only=True) if folder else None
