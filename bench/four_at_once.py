"""Four different pipelines started together, on SQLite as by default, or on the services of docker/compose.yaml.

    python bench/four_at_once.py sqlite
    python bench/four_at_once.py postgres     # Postgres and S3: see bench/composed.py for what it needs

Each must finish, compute each of its stages once, and leave no run in RUNNING. What they share is computed once. On
the composed services, one more runs as the deployment kpod/rationales on their worker.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import yaml
from composed import BIN, ROOT, composed


@contextmanager
def services(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """What the runs need in their environment."""
    if kind == "sqlite":
        yield {"KPOD_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect-home")}
        return
    with composed(folder) as env:
        yield {**env, "PREFECT_HOME": str(folder / "prefect-home")}


def on_worker() -> str:
    """Run a deployment on the worker of the composed services, and tell how it ended."""
    config = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    config |= {"methods": ["kpod"], "teacher": {"endpoint": {"kind": "scripted", "seed": 5}}}
    parameters = json.dumps({"config": config})
    command = [str(BIN / "prefect"), "--no-prompt", "deployment", "run", "kpod/rationales", "--watch"]
    done = subprocess.run([*command, "--params", parameters], capture_output=True, text=True, check=False)
    return "finished" if done.returncode == 0 else (done.stdout + done.stderr)[-2000:]


def run(env: dict[str, str], number: int) -> subprocess.Popen[str]:
    """Start one of the four; they differ in the teacher's seed, and share questions and base."""
    command = [sys.executable, "-m", "kpod.cli", "run", str(ROOT / "tests" / "tiny.yaml"), "--until", "steps"]
    command += ["--set", f"teacher.endpoint={{kind: scripted, seed: {number}}}", "--set", "methods=[kpod]"]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["sqlite", "postgres"])
    parser.add_argument("--result", type=Path, default=ROOT / "bench" / "results" / "four_at_once.json")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kpod-four-"))
    with services(arguments.kind, folder) as env:
        os.environ.update(env)
        first = run(env, 0)  # databases are migrated once, before there are several clients
        said = first.communicate()[0]
        if first.returncode:
            raise RuntimeError(said)
        started = time.monotonic()
        runs = [run(env, number) for number in range(1, 5)]
        said_by = [one.communicate()[0] for one in runs]
        seconds = time.monotonic() - started
        worker = on_worker() if arguments.kind == "postgres" else None
        failed = [text for one, text in zip(runs, said_by, strict=True) if one.returncode]
        from kpod import tracking

        api = tracking.client()
        entities = api.search_runs([tracking.experiment_id(api)], max_results=1000)
    computed = [next((x for x in text.splitlines() if x.startswith("computed: ")), "") for text in said_by]
    ended = [one for one in entities if one.info.status == "FINISHED"]
    finished = Counter(one.data.tags.get("kpod.cache_key", "parent") for one in ended)
    parents = finished.pop("parent", 0)
    found = {
        "date": date.today().isoformat(),
        "finished": sum(one.returncode == 0 for one in runs),
        "seconds": round(seconds, 1),
        "parent runs finished": parents,
        "stages computed twice": sum(count > 1 for count in finished.values()),
        "left in RUNNING": sum(one.info.status == "RUNNING" for one in entities),
        "computed": computed,
        **({"deployment on the worker": worker} if worker else {}),
        "errors": [text[-2000:] for text in failed],
    }
    known = json.loads(arguments.result.read_text()) if arguments.result.exists() else {}
    arguments.result.write_text(json.dumps({**known, arguments.kind: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(failed) or found["stages computed twice"] > 0 or found["left in RUNNING"] > 0)


if __name__ == "__main__":
    main()
