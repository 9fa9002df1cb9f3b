"""The figures of a report as Markdown tables and as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpod.config import Pipeline
from kpod.evaluate.accuracy import as_dict
from kpod.report.costs import compared_at
from kpod.report.data import ReportData
from kpod.report.headline import headline
from kpod.report.render import figure, p_value
from kpod.report.words import methods


def markdown(data: ReportData) -> str:
    """The tables of accuracy, paired differences and costs."""
    lines = ["| method | set | questions | accuracy | 95% | truncated |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.method} | {row.dataset} {row.split} | {row.questions} | {row.accuracy:.1%} |"
        f" {row.low:.1%} to {row.high:.1%} | {row.truncated:.1%} |"
        for row in data.accuracy
    ]
    if data.comparisons:
        holm = any(row.p_holm is not None for row in data.comparisons)
        names = ["paired", "set", "difference", "95%", "p (McNemar)", *(["p (Holm)"] if holm else [])]
        lines += ["", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        lines += [
            f"| {row.b} - {row.a} | {row.dataset} {row.split} | {100 * row.difference:+.1f} points |"
            f" {100 * row.low:+.1f} to {100 * row.high:+.1f} | {row.p_value:.3g} |"
            + (f" {p_value(row.p_holm)} |" if holm else "")
            for row in data.comparisons
        ]
    if data.costs:
        lines += [
            "",
            "| method | target tokens | epochs | rationales a question | CPU s | wall s | preparation, CPU s |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {method} | {spent.target_tokens:,} | {figure(spent.epochs)} | {figure(spent.rationales_a_question)} |"
            f" {figure(spent.cpu_seconds)} | {figure(spent.wall_seconds)} | {figure(spent.preparation_seconds)} |"
            for method, spent in data.costs.items()
        ]
    if at := compared_at(data.costs):
        lines += ["", f"Methods are compared {at}."]
    return "\n".join(lines) + "\n"


def description(folder: Path, links: Mapping[str, str]) -> str:
    """Markdown for MLflow's page of a run, from the folder of the stage `report`; `links`: text -> address."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    table = (folder / "summary.md").read_text(encoding="utf-8")
    outcome = summary["headline"]
    head = f"**{outcome['sentence']}** ({outcome['where']})\n\n" if outcome else ""
    return f"{head}{' · '.join(f'[{text}]({address})' for text, address in links.items())}\n\n{table}"


def outcome(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The headline and a table of all methods and sets, from the folder of the stage `report`."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    rows = [
        {
            "method": row["method"],
            "set": f"{row['dataset']} {row['split']}",
            "accuracy": f"{row['accuracy']:.1%}",
            "95%": f"{row['low']:.1%} to {row['high']:.1%}",
            "questions": row["questions"],
            "target tokens": summary["costs"].get(row["method"], {}).get("target_tokens"),
            "CPU s": figure(summary["costs"].get(row["method"], {}).get("cpu_seconds")),
        }
        for row in summary["accuracy"]
    ]
    lead = summary["headline"]
    return (f"{lead['sentence']} ({lead['where']})" if lead else ""), rows


def version_text(method: str, config: Pipeline, figures: Mapping[str, float]) -> str:
    """Markdown that describes a version of a registered model; `figures`: those of `kpod.run.results.figures_of`."""
    low, high = (f"{figures[f'accuracy_{end}']:.1%}" for end in ("low", "high"))
    tokens = f", trained on {figures['target_tokens']:,.0f} target tokens" if "target_tokens" in figures else ""
    return (
        f"Student `{config.student_name}` distilled by `{method}` from teacher `{config.teacher_name}` on"
        f" `{config.dataset}`{tokens}. Accuracy {figures['accuracy']:.1%}, 95% {low} to {high}."
    )


def summary(data: ReportData) -> dict[str, Any]:
    """The content of summary.json."""
    lead = headline(data.accuracy, data.comparisons)
    return {
        "headline": lead.as_dict() if lead else None,
        "methods": methods(dict.fromkeys(row.method for row in data.accuracy)),
        "accuracy": [as_dict(row) for row in data.accuracy],
        "costs": {method: vars(cost) for method, cost in data.costs.items()},
        "compared_at": compared_at(data.costs),
        "comparisons": [{**vars(row), "difference": row.difference} for row in data.comparisons],
    }
