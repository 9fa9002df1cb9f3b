"""Stage `report`: accuracy, paired comparisons and pictures over all methods of a pipeline, on one page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoTokenizer

from kpod import schemas
from kpod.config import Form, Pipeline
from kpod.distill import points
from kpod.distill.points import Point
from kpod.evaluate.accuracy import accuracies, by_steps
from kpod.evaluate.compare import compare
from kpod.evaluate.statistics import MANY, holm
from kpod.report.costs import cost
from kpod.report.curriculum import write_curriculum_figures
from kpod.report.data import Comparison, ReportData
from kpod.report.example import Example, find, with_weights
from kpod.report.headline import ONE, PLAIN, reported
from kpod.report.left_out import left_out
from kpod.report.page import write_report
from kpod.report.results import accuracy_bars
from kpod.report.settings import ReportSettings
from kpod.report.style import write_png
from kpod.report.summary import markdown, summary
from kpod.report.token_views import weight_scale
from kpod.report.tokens import write_token_view
from kpod.store.files import write_text
from kpod.store.keys import identity
from kpod.text.chat import resolve

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
    """Write report.html, summary.md, summary.json and the pictures in figures/.

    `inputs` maps `<method>.<stage>` to the folder of a result; parts of the report without inputs are left out.
    """
    methods: list[str] = [method for method in config.pipeline.methods if f"{method}.evaluate" in inputs]
    predictions = {
        method: schemas.read(inputs[f"{method}.evaluate"] / "predictions.parquet", schemas.PREDICTIONS)
        for method in methods
    }
    tables = {name: _table(inputs, stage, f"{name}.parquet", schema) for name, (stage, schema) in _TABLES.items()}
    questions = tables["questions"]
    tokenizer = _tokenizer(inputs)
    figures = {method: _figures(config, method) for method in methods}
    costs = {method: spent for method, stages in figures.items() if (spent := cost(stages))}
    data = ReportData(
        title=config.pipeline.name,
        facts=_facts(config.pipeline),
        accuracy=[row for method, table in predictions.items() for row in accuracies(method, table)],
        steps={} if questions is None else {m: by_steps(m, table, questions) for m, table in predictions.items()},
        comparisons=_comparisons(predictions),
        costs=costs,
        example=_example(inputs, predictions, tables, tokenizer, config.pipeline.distill.form),
        histories=_histories(inputs, methods),
        validations=_validations(inputs, methods),
        predictions=predictions,
        config=identity(config.pipeline),  # files by their content, so that no path of this machine is shown
        lineage=config.lineage,
        tokenizer=tokenizer,
        left_out=left_out(inputs, config.pipeline),
        teachers=_teachers(inputs),
        **tables,
    )
    write_report(out_dir / "report.html", data)
    write_text(out_dir / "summary.md", markdown(data))
    write_text(out_dir / "summary.json", json.dumps(summary(data), indent=1))
    pictures = out_dir / "figures"
    pictures.mkdir(exist_ok=True)
    if data.accuracy:
        write_png(accuracy_bars(data.accuracy), pictures / "accuracy.png")
    if data.weights is not None and data.questions is not None and data.rationales is not None:
        paths = (pictures / "tokens.html", pictures / "tokens.png")
        write_token_view(data.weights, data.questions, data.rationales, data.tokenizer, *paths, left_out=data.left_out)
    if data.curriculum is not None and data.difficulty is not None and data.clusters is not None:
        write_curriculum_figures(data.curriculum, data.difficulty, data.clusters, pictures)
    return {"methods": len(methods)}


def _facts(config: Pipeline) -> dict[str, str]:
    """Student, teacher, and the generated sets out of distribution."""
    settings = config.student
    student = (
        f"{settings.layers} layers of {settings.hidden}, pretrained here"
        if settings.kind == "scratch"
        else config.student_name
    )
    names = {"student": student, "teacher": config.teacher_name}
    for source in config.questions.sources:
        if source.kind == "wordproblems":
            names |= source.shifted
    return names


def _figures(config: ReportSettings, method: str) -> dict[str, dict[str, float]]:
    """Figures of the cost of a method's stages: stage -> name -> value."""
    return {row.stage: row.figures for row in config.lineage if row.name.rpartition(".")[0] == method}


def _example(
    inputs: Mapping[str, Path],
    predictions: Mapping[str, pa.Table],
    tables: Mapping[str, pa.Table | None],
    tokenizer: Any,
    form: Form,
) -> Example | None:
    """The example of the report, shaded if the run has trained a weighter."""
    questions, weights = tables["questions"], tables["weights"]
    example = find(predictions, questions) if questions is not None else None
    folder, base = _last(inputs, "weights"), _last(inputs, "base")
    if example is None or weights is None or folder is None or base is None or not (folder / "weighter").is_dir():
        return example
    shape = resolve(tokenizer, form)
    return with_weights(example, folder / "weighter", base / "student", tokenizer, weight_scale(weights), shape)


def _comparisons(predictions: Mapping[str, pa.Table]) -> list[Comparison]:
    """The reported method against each other method, and plain distillation on several rationales against one."""
    if not predictions:
        return []
    method = reported(list(predictions))
    others = [name for name in predictions if name != method]
    pairs = [(other, method) for other in others]
    if ONE in others and PLAIN in others:
        pairs.append((ONE, PLAIN))
    comparisons = [
        Comparison(
            a=a, b=b, dataset=part.dataset, split=part.split, questions=part.questions,
            only_a=len(part.only_a), only_b=len(part.only_b), low=part.low, high=part.high, p_value=part.p_value,
        )
        for a, b in pairs
        for part in compare(predictions[a], predictions[b]).sets
    ]  # fmt: skip
    if len(comparisons) <= MANY:
        return comparisons
    return [
        replace(row, p_holm=p) for row, p in zip(comparisons, holm([row.p_value for row in comparisons]), strict=True)
    ]


def _histories(inputs: Mapping[str, Path], methods: Sequence[str]) -> dict[str, pa.Table]:
    folders = {method: inputs.get(f"{method}.distill") for method in methods}
    return {m: schemas.read(folder / "history.parquet", schemas.HISTORY) for m, folder in folders.items() if folder}


def _validations(inputs: Mapping[str, Path], methods: Sequence[str]) -> dict[str, list[Point]]:
    curves = {m: points.read(inputs[f"{m}.distill"] / points.FILE) for m in methods if f"{m}.distill" in inputs}
    return {method: curve for method, curve in curves.items() if curve}


def _last(inputs: Mapping[str, Path], stage: str) -> Path | None:
    """The folder of a stage's result for the last method that has one."""
    folders = [folder for name, folder in inputs.items() if name.endswith(f".{stage}")]
    return folders[-1] if folders else None


def _table(inputs: Mapping[str, Path], stage: str, name: str, schema: pa.Schema) -> pa.Table | None:
    folder = _last(inputs, stage)
    return schemas.read(folder / name, schema) if folder else None


def _teachers(inputs: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The reports of several teachers, by name; empty for one teacher."""
    folder = _last(inputs, "rationales")
    if folder is None or not (folder / "report.json").is_file():
        return {}
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")).get("teachers", {}))


def _tokenizer(inputs: Mapping[str, Path]) -> Any:
    folder = _last(inputs, "base")
    return AutoTokenizer.from_pretrained(folder / "student", local_files_only=True) if folder else None
