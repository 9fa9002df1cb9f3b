"""The report of a run: one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from kpod.config.flat import flatten
from kpod.evaluate.accuracy import Accuracy
from kpod.report import words
from kpod.report.costs import compared_at
from kpod.report.curriculum import curriculum_figures
from kpod.report.data import ReportData, grouped
from kpod.report.headline import headline
from kpod.report.render import render
from kpod.report.results import accuracy_bars, learning_curves, validation_curves
from kpod.report.samples import sample_groups
from kpod.report.settings import Lineage
from kpod.report.style import data_uri
from kpod.report.teacher import teacher_yield
from kpod.report.token_views import token_views, weight_scale
from kpod.store.files import write_text

HEAT_MAPS = 8  # rationales shown; the token view of the stage `weights` has more

_set = attrgetter("dataset", "split")
_CAPTIONS = {
    "target-and-reached": "What the schedule allows the student to generate (Eq. 10) and what each stage reached.",
    "full-generation": "Rationales of which no step is given as input any more.",
    "generated-steps": "How many of its last steps the student generates itself; a column sums to 100%.",
    "difficulty-by-step": "Eq. 8 under the student before distillation: median, quartiles, and 5% to 95%.",
    "cluster-balance": "Where the rationales come from that give up input steps (Eq. 12), beside the whole set.",
}


def write_report(out: Path, data: ReportData) -> None:
    """Write the report of a run to `out`, atomically: headline and accuracy first; sections without data are left out.

    The page holds no script, no address but the paper's, and its pictures as `data:` URIs. Equal data give equal
    bytes. Raises DataError if weights name rationales or questions that are missing from the tables.
    """
    methods = list(dict.fromkeys(row.method for row in data.accuracy))
    histories = {method: table for method, table in data.histories.items() if len(table)}
    values: dict[str, Any] = {
        "data": data,
        "headline": headline(data.accuracy, data.comparisons),
        "words": words.methods(methods),
        "accuracy": grouped(data.accuracy, _set),
        "steps": _steps(data.steps),
        "comparisons": grouped(data.comparisons, _set),
        "compared_at": compared_at(data.costs),
        "accuracy_image": data_uri(accuracy_bars(data.accuracy)) if data.accuracy else None,
        "curves_image": data_uri(learning_curves(histories, methods)) if histories else None,
        "validation_image": data_uri(validation_curves(data.validations, methods)) if data.validations else None,
        "curriculum": _curriculum(data),
        "views": (),
        "scale": None,
        "weighted": 0,
        "teacher": teacher_yield(data.rationales) if data.rationales is not None and len(data.rationales) else None,
        "groups": sample_groups(data.predictions, data.questions) if data.predictions else (),
        "lineage": _shared(data.lineage),
        "settings": list(flatten(data.config)),
    }
    if data.weights is not None and (data.example is not None or data.tokenizer):
        values["scale"] = weight_scale(data.weights)
    if data.weights is not None and data.questions is not None and data.rationales is not None and data.tokenizer:
        values["views"] = token_views(
            data.weights, data.questions, data.rationales, data.tokenizer, HEAT_MAPS, data.left_out
        )
        values["weighted"] = len(data.weights)
    write_text(out, render("report.html", values))


def _steps(steps: Mapping[str, Mapping[int, Accuracy]]) -> dict[int, list[Accuracy]]:
    """Number of steps -> one entry a method that was asked such questions."""
    counts = sorted({count for by_count in steps.values() for count in by_count})
    return {count: [by_count[count] for by_count in steps.values() if count in by_count] for count in counts}


def _curriculum(data: ReportData) -> list[tuple[str, str]]:
    figures = curriculum_figures(data.curriculum, data.difficulty, data.clusters)
    return [(data_uri(figure), _CAPTIONS[name]) for name, figure in figures.items()]


def _shared(lineage: Sequence[Lineage]) -> dict[tuple[str, str, str], list[str]]:
    """The methods that use each (stage, key, run)."""
    users: dict[tuple[str, str, str], list[str]] = {}
    for row in lineage:
        users.setdefault((row.stage, row.key, row.run_id), []).append(row.name.rpartition(".")[0])
    return users
