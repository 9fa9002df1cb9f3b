"""Stage `report`: accuracy, paired comparisons and pictures over all methods of a pipeline, on one page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoTokenizer

from kpod import schemas
from kpod.evaluate.compare import SetComparison, compare
from kpod.evaluate.statistics import accuracy_of
from kpod.files import write_text
from kpod.report.curriculum import write_curriculum_figures
from kpod.report.data import Accuracy, Comparison, ReportData, StageRun
from kpod.report.page import write_report
from kpod.report.settings import ReportSettings
from kpod.report.tokens import write_token_view

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
    methods = [method for method in config.pipeline.methods if f"{method}.evaluate" in inputs]
    predictions = {
        method: schemas.read(inputs[f"{method}.evaluate"] / "predictions.parquet", schemas.PREDICTIONS)
        for method in methods
    }
    data = ReportData(
        title=config.pipeline.name,
        facts={"student": config.pipeline.student.kind, "teacher": config.pipeline.teacher.model},
        accuracy=[row for method, table in predictions.items() for row in accuracies(method, table)],
        comparisons=_comparisons(predictions),
        histories=_histories(inputs, methods),
        predictions=predictions,
        config=config.pipeline.model_dump(mode="json"),
        lineage=[StageRun(stage=row.name, key=row.key, run_id=row.run_id) for row in config.lineage],
        tokenizer=_tokenizer(inputs),
        **{name: _table(inputs, stage, f"{name}.parquet", schema) for name, (stage, schema) in _TABLES.items()},
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
