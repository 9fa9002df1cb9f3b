"""Seconds from Ctrl-C to the end of a run, in a pseudo-terminal, in three stages: the time that a person waits.

    python bench/ctrl_c.py [--rounds 2]

Uses the terminal of tests/test_interrupt.py. Each round starts a run in a folder of its own, presses Ctrl-C in the
middle of the stage, and waits for the command's end and for that of all its processes. Writes
bench/results/ctrl_c.json and .md with the load of the machine beside each figure.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
RESULTS = Path(__file__).parent / "results" / "ctrl_c"


def main() -> None:
    from test_interrupt import SETTINGS

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    found = []
    for stage in SETTINGS:
        for _ in range(rounds):
            found.append(measure(stage))
            print(found[-1], flush=True)
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(found))


def measure(stage: str) -> dict[str, Any]:
    """One run, ended in the middle of a stage."""
    from server_tools import until
    from test_interrupt import CTRL_C, alive, running

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["KPOD_HOME"] = str(home)
        with running(home, stage) as (terminal, family):
            load = os.getloadavg()[0]
            pressed = time.monotonic()
            terminal.press(CTRL_C)
            code = terminal.process.wait(120)
            ended = time.monotonic() - pressed
            until(lambda: not alive(family), "the end of all processes", seconds=60)
            gone = time.monotonic() - pressed
    return {
        "stage": stage, "exit_code": code, "command_seconds": round(ended, 1), "all_processes_seconds": round(gone, 1),
        "processes": len(family), "load": round(load, 1), "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }  # fmt: skip


def page(found: list[dict[str, Any]]) -> str:
    lines = [
        f"# Ctrl-C ({found[0]['date']}, {platform.machine()}, {os.cpu_count()} cores)", "",
        f"`python bench/ctrl_c.py --rounds {len(found) // len({row['stage'] for row in found})}`", "",
        "Seconds from the key to the end of the command and of all its processes, each round.", "",
        "| stage | command | all processes | processes | exit code | load |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for stage in dict.fromkeys(row["stage"] for row in found):
        rows = [row for row in found if row["stage"] == stage]
        names = ("command_seconds", "all_processes_seconds", "processes", "exit_code", "load")
        lines.append(f"| {stage} | " + " | ".join(", ".join(str(row[name]) for row in rows) for name in names) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
