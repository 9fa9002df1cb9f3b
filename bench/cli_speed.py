"""Time of the commands that only look: `python bench/cli_speed.py HOME [--repeat 3] > bench/results/cli_speed.md`.

HOME is a state folder with at least one run of the demo. Prints CPU and wall seconds (best of the repeats) as Markdown.
CPU seconds hold on a busy machine too.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (
    ("--help",),
    ("recipes", "ls"),
    ("runs",),
    ("compare", "demo/scotd", "demo/kpod"),
    ("lineage", "wordproblems"),
    ("doctor",),
)


def seconds(command: tuple[str, ...], home: Path) -> tuple[float, float]:
    """CPU and wall seconds of one call. Raises CalledProcessError if it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call = [sys.executable, "-m", "kpod.cli", *command]
    subprocess.run(call, env={**os.environ, "KPOD_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    """Measure every command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print("# Commands that only look\n")
    print(f"`python bench/cli_speed.py HOME --repeat {arguments.repeat}`, {os.cpu_count()} cores,", end=" ")
    print(f"load {os.getloadavg()[0]:.1f} at the start; the best of the repeats.\n")
    print("| command | CPU s | wall s |\n|---|---|---|")
    for command in COMMANDS:
        cpu, wall = map(min, zip(*(seconds(command, arguments.home) for _ in range(arguments.repeat)), strict=True))
        print(f"| `kpod {' '.join(command)}` | {cpu:.2f} | {wall:.2f} |", flush=True)


if __name__ == "__main__":
    main()
