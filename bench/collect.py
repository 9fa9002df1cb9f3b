"""A finished pipeline run as a result file: accuracies, paired tests, seconds a stage, and who was right.

    KPOD_HOME=... python bench/collect.py RUN NAME "command that made it" ["a note"]

Writes bench/results/NAME.{json,md}. Ids and right or wrong are kept for every question, texts are not.
"""

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kpod import tracking
from kpod.run import results
from kpod.run.results import references
from kpod.store import artifacts

RESULTS = Path(__file__).parent / "results"
FOLDER = re.compile(r"(?<![\w:/.])/(?:[\w.-]+/)+")  # where a file lay is nobody's business


def collect(run_id: str, command: str, note: str) -> dict[str, Any]:
    """Everything that the result file says about a run of the flow `kpod`."""
    parent = tracking.client().get_run(run_id)
    report = results.result_of(f"{run_id}/all", "report")
    folder = artifacts.folder_of(report.stage, report.key)
    methods = parent.data.tags["kpod.methods"].split(",")
    return {
        "command": command,
        "note": note,
        "date": datetime.fromtimestamp(parent.info.end_time / 1000, UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "settings": {key: FOLDER.sub("", value) for key, value in sorted(parent.data.params.items())},
        **json.loads((folder / "summary.json").read_text()),
        "table": (folder / "summary.md").read_text(),
        "stages": {name: _figures(ref.run_id) for name, ref in sorted(references(run_id).items())},
        "correct": {
            method: {row["question_id"]: row["correct"] for row in _predictions(f"{run_id}/{method}")}
            for method in methods
        },
    }


def _figures(run_id: str) -> dict[str, float]:
    """Seconds of the attempt that finished a stage, and the stage's headline figures."""
    run = tracking.client().get_run(run_id)
    seconds = (run.info.end_time - run.info.start_time) / 1000
    stage = run.data.tags["kpod.stage"]
    shown = {k: v for k, v in run.data.metrics.items() if k.startswith(f"{stage}.")}
    return {"seconds": round(seconds, 1), **shown}


def _predictions(run: str) -> list[dict[str, Any]]:
    return results.predictions_of(run).to_pylist()


def markdown(name: str, found: dict[str, Any]) -> str:
    lines = [f"# {name} ({found['date']}, {found['machine']})", "", f"`{found['command']}`", "", found["note"], ""]
    lines.append(found["table"])
    lines += ["| stage | seconds |", "|---|---|"]
    done = set()
    for stage, figures in found["stages"].items():
        if (key := json.dumps(figures)) not in done:  # a stage that methods share is listed once
            lines.append(f"| {stage} | {figures['seconds']} |")
        done.add(key)
    return "\n".join(lines) + "\n"


def main() -> None:
    run_id, name, command, *rest = sys.argv[1:]
    found = collect(run_id, command, rest[0] if rest else "")
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(markdown(name, found))
    print(markdown(name, found))


if __name__ == "__main__":
    main()
