"""Load and fault figures of the teacher client, against a local server that counts what a provider would bill.

Usage: python bench/teacher.py [--curator FOLDER of bench/curator_env.sh] [--only load|memory|faults|kills|curator ...]
           [--requests N of the parts load and curator]
Writes bench/results/teacher.json and teacher.md; a part that is not run keeps its former figures.
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "results" / "teacher.json"
WORK = HERE / "teacher_work.py"
SERVE = """
import json, sys
from kpod.config import ScriptedEndpoint
from kpod.teacher.faults import Faults
from kpod.teacher.server import serve
serve(ScriptedEndpoint(wrong=0), port=0, faults=Faults(**json.loads(sys.argv[1])))
"""
FAULTS = {
    "rate_limited": 0.05,
    "rate_limited_silently": 0.05,
    "server_error": 0.05,
    "stall": 0.02,
    "truncated": 0.01,
    "invalid_json": 0.01,
    "dropped": 0.01,
    "stall_s": 30,
    "retry_after_s": 0.5,
}
PARTS = {
    "load": "Clients side by side, 50 ms service time. Goal: rate_to_httpx at least 0.8.",
    "memory": "Peak memory of the whole process. Goal: growth_mb below 150.",
    "faults": "Goal: all done or failed with a reason, no duplicates.",
    "kills": "SIGKILL and resume. Goal: received_by_server at most `allowed`, and the same table.",
    "curator": "bespokelabs-curator against the same server; the rate includes its own start of work, no import.",
}
Figures = dict[str, Any]


@contextmanager
def server(**faults: float) -> Iterator[str]:
    """A scripted teacher in a process of its own."""
    command = [sys.executable, "-c", SERVE, json.dumps(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def stats(url: str) -> Figures:
    """The server's counts."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=60) as answer:
        return json.load(answer)


def start(python: str, kind: str, url: str, count: int, concurrency: int, folder: Path, **teacher: Any) -> Any:
    """Begin one run of bench/teacher_work.py."""
    command = [python, str(WORK), kind, url, str(count), str(concurrency), str(folder)]
    environment = {**os.environ, "TEACHER": json.dumps(teacher), "PYTHONPATH": str(HERE.parent)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )


def finish(process: Any) -> Figures:
    """Wait for a run and read its figures."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run failed with {process.returncode}: {process.args}")
    return json.loads(output.splitlines()[-1])


def one(kind: str, count: int, python: str = sys.executable, concurrency: int = 64, **faults: float) -> Figures:
    """A whole run against a server of its own."""
    with tempfile.TemporaryDirectory() as folder, server(latency_s=0.05, **faults) as url:
        found = finish(start(python, kind, url, count, concurrency, Path(folder)))
        counted = stats(url)
    return {
        "requests": count,
        "requests_per_s": counted["answered"] / counted["span_s"],
        "peak_mb": found["peak_mb"],
        "cpu_ms_per_request": 1000 * found["cpu_s"] / count,
        **({"stage_s": found["stage_s"]} if "stage_s" in found else {}),
    }


def load(count: int = 20_000, concurrency: int = 64) -> Figures:
    """Throughput. The clients run side by side, each against a server of its own, because other jobs on
    the machine then cost all of them the same. Counted is from the moment at which each has 500 answers to the
    moment at which the first has nearly all; CPU time is the client's own in that window.
    """
    kinds = ("kpod", "httpx2", "httpx")
    with ExitStack() as stack:
        urls = {kind: stack.enter_context(server(latency_s=0.05)) for kind in kinds}
        folders = {kind: Path(stack.enter_context(tempfile.TemporaryDirectory())) for kind in kinds}
        running = {kind: start(sys.executable, kind, urls[kind], count, concurrency, folders[kind]) for kind in kinds}

        def look() -> dict[str, tuple[float, int, float]]:
            return {
                kind: (time.monotonic(), stats(urls[kind]).get("answered", 0), _cpu(running[kind].pid))
                for kind in kinds
            }

        begin = _when(look, lambda seen: min(answered for _, answered, _ in seen.values()) >= min(500, count // 10))
        end = _when(look, lambda seen: max(answered for _, answered, _ in seen.values()) >= 0.97 * count)
        for kind in kinds:
            os.killpg(running[kind].pid, signal.SIGKILL)
            running[kind].communicate()
    found: Figures = {}
    for kind in kinds:
        (began, before, cpu_before), (ended, after, cpu_after) = begin[kind], end[kind]
        found[kind] = {
            "requests_in_window": after - before,
            "requests_per_s": (after - before) / (ended - began),
            "cpu_ms_per_request": 1000 * (cpu_after - cpu_before) / (after - before),
        }
    rate = found["kpod"]["requests_per_s"]
    return {
        "requests": count,
        "concurrency": concurrency,
        **found,
        "rate_to_httpx": rate / found["httpx"]["requests_per_s"],
        "rate_to_httpx2": rate / found["httpx2"]["requests_per_s"],
        "cpu_to_httpx2": found["kpod"]["cpu_ms_per_request"] / found["httpx2"]["cpu_ms_per_request"],
    }


def memory() -> Figures:
    """Peak memory of small and large runs of the stage."""
    small, large = one("kpod", 2_000), one("kpod", 20_000)
    return {"kpod_2000": small, "kpod_20000": large, "growth_mb": large["peak_mb"] - small["peak_mb"]}


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _when(look: Callable[[], Any], reached: Callable[[Any], bool]) -> Any:
    while not reached(seen := look()):
        time.sleep(0.5)
    return seen


def faults(count: int = 5_000) -> Figures:
    """Every question ends, and nothing is billed twice."""
    with tempfile.TemporaryDirectory() as folder, server(latency_s=0.05, **FAULTS) as url:
        found = finish(start(sys.executable, "kpod", url, count, 64, Path(folder), timeout_s=20.0, resamples=0))
        counted = stats(url)
    return {
        "questions": count,
        "done": found["rationales"] - found.get("dropped/failed", 0.0),
        "failed": found.get("dropped/failed", 0.0),
        "retries": found["retries"],
        "received_by_server": counted["received"],
        "answered_by_server": counted["answered"],
        "duplicates_by_server": counted["duplicates"],
        "faults": counted["faults"],
        "seconds": found["stage_s"],
    }


def kills(count: int = 2_000, concurrency: int = 32, times: int = 20) -> Figures:
    """SIGKILL at random moments, each time resumed; then compare with a run that was left alone."""
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as one_folder, tempfile.TemporaryDirectory() as other_folder:
        with server(latency_s=0.25) as url:
            killed = 0
            while killed < times:
                before = stats(url).get("received", 0)
                process = start(sys.executable, "kpod", url, count, concurrency, Path(one_folder))
                if rng.random() < 0.8:  # else: anywhere, start-up included
                    while stats(url).get("received", 0) == before and process.poll() is None:
                        time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.7))
                if process.poll() is not None:
                    break
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                killed += 1
            finish(start(sys.executable, "kpod", url, count, concurrency, Path(one_folder)))
            counted = stats(url)
        with server() as url:
            finish(start(sys.executable, "kpod", url, count, concurrency, Path(other_folder)))
        same = [_digest(Path(f) / "out" / "rationales.parquet") for f in (one_folder, other_folder)]
    return {
        "requests": count,
        "kills": killed,
        "concurrency": concurrency,
        "received_by_server": counted["received"],
        "allowed": count + times * concurrency,
        "billed_twice": counted["duplicates"],
        "same_table_as_without_kills": same[0] == same[1],
    }


def curator(python: str, count: int = 2_000, concurrency: int = 64) -> Figures:
    """Throughput, and what is asked again after one kill half way."""
    found: Figures = {"requests": count}
    for kind, interpreter in (("kpod", sys.executable), ("curator", python)):
        whole = one(kind, count, interpreter, concurrency)
        with tempfile.TemporaryDirectory() as folder, server(latency_s=0.25) as url:
            process = start(interpreter, kind, url, count, concurrency, Path(folder))
            while stats(url).get("answered", 0) < count // 2:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            finish(start(interpreter, kind, url, count, concurrency, Path(folder)))
            repeated = stats(url)["received"] - count
        found[kind] = {**whole, "requests_repeated_after_one_kill": repeated}
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(found: Figures) -> str:
    """The figures as text."""
    lines = [
        "# Teacher client: load and faults",
        "",
        f"`python bench/teacher.py`, {datetime.date.today()}, {os.cpu_count()} CPU cores shared with the servers.",
        "",
    ]
    for part, figures in found.items():
        lines += [f"## {part}", "", PARTS[part], "", "| figure | value |", "|---|---|"]
        flat: list[tuple[str, Any]] = []
        for name, value in figures.items():
            flat += [(f"{name}, {k}", v) for k, v in value.items()] if isinstance(value, dict) else [(name, value)]
        lines += [f"| {name} | {round(v, 3) if isinstance(v, float) else v} |" for name, v in flat] + [""]
    return "\n".join(lines)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curator", metavar="FOLDER", help="environment made by bench/curator_env.sh")
    parser.add_argument("--only", nargs="+", choices=("load", "memory", "faults", "kills", "curator"))
    parser.add_argument("--requests", type=int, help="of each client, in place of 20,000 (load) and 2,000 (curator)")
    options = parser.parse_args()
    parts = {"load": lambda: load(options.requests or 20_000), "memory": memory, "faults": faults, "kills": kills}
    if options.curator:
        parts["curator"] = lambda: curator(f"{options.curator}/bin/python", options.requests or 2_000)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name, part in parts.items():
        if not options.only or name in options.only:
            found[name] = part()
            print(name, json.dumps(found[name], indent=1), flush=True)
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(found, indent=1) + "\n")
            RESULT.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
