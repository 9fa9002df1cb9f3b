"""What the pipeline costs when there is nothing to do: `kpod --help`, and a fully cached run over an empty flow.

    python bench/overhead.py

Runs tests/tiny.yaml once, then ROUNDS times an empty Prefect flow and the cached pipeline in turn, each in a process of
its own with an embedded Prefect server and MLflow on SQLite. Writes bench/results/overhead.{json,md}.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROUNDS = 5
ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
EMPTY = """
from kpod.store.home import set_environment
set_environment()
from prefect import flow
flow(lambda: None, name="empty")()
"""
HELP = [sys.executable, "-m", "kpod.cli", "--help"]
CACHED = [sys.executable, "-m", "kpod.cli", "run", str(ROOT / "tests" / "tiny.yaml")]


def seconds(command: list[str], home: Path) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, "KPOD_HOME": str(home)}, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        seconds(CACHED, home)
        rounds = [
            {
                "help": seconds(HELP, home),
                "empty": seconds([sys.executable, "-c", EMPTY], home),
                "cached": seconds(CACHED, home),
            }
            for _ in range(ROUNDS)
        ]
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    median["overhead"] = statistics.median(one["cached"] - one["empty"] for one in rounds)
    result = {"date": date.today().isoformat(), "cores": os.cpu_count(), "rounds": rounds, "median_s": median}
    (RESULTS / "overhead.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        f"# Overhead ({result['date']}, {result['cores']} cores, median of {ROUNDS} rounds)",
        "",
        "`python bench/overhead.py`",
        "",
        "| | seconds | goal |",
        "|---|---|---|",
        f"| `kpod --help`, cold process | {median['help']:.2f} | under 1 |",
        f"| empty Prefect flow, embedded server | {median['empty']:.2f} | |",
        f"| fully cached `kpod run` (3 methods) | {median['cached']:.2f} | |",
        f"| cached run over the empty flow | {median['overhead']:.2f} | under 3 |",
    ]
    (RESULTS / "overhead.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
