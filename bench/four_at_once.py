"""Four different pipelines started together, on SQLite as by default, or on Postgres servers as in docker/compose.yaml.

    python bench/four_at_once.py sqlite
    python bench/four_at_once.py postgres     # Debian's postgresql, and pip install psycopg2-binary

Each must finish, compute each of its stages once, and leave no run in RUNNING. What they share is computed once.
"""

import argparse
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
WAIT = 900.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(command: list[Any], log: Path, answers: str | None = None, **env: str) -> Iterator[None]:
    """A server while the block runs; it is up when the address answers."""
    with log.open("a") as out:
        started = subprocess.Popen(
            list(map(str, command)), env={**os.environ, **env}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + WAIT
        while answers and not _answers(answers):
            if time.monotonic() > deadline or started.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start, see {log}")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A Postgres with the databases `prefect` and `mlflow`; yields user@host:port."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    data, port = folder / "postgres", free_port()
    # Postgres refuses root.
    user = "postgres" if getpass.getuser() == "root" else getpass.getuser()
    become = ["/sbin/runuser", "-u", user, "--"] if getpass.getuser() == "root" else []
    data.mkdir()
    folder.chmod(0o755)
    shutil.chown(data, user)

    def call(*command: object) -> None:
        subprocess.run([*become, *map(str, command)], check=True, cwd="/", stdout=subprocess.DEVNULL)

    call(programs / "initdb", "-D", data, "-U", "kpod", "--auth", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    call(programs / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start")
    try:
        for name in ("prefect", "mlflow"):
            call(programs / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "kpod", name)
        yield f"kpod@127.0.0.1:{port}"
    finally:
        call(programs / "pg_ctl", "-D", data, "-m", "fast", "stop")


@contextmanager
def services(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """What the runs need in their environment."""
    env = {"KPOD_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect-home")}
    if kind == "sqlite":
        yield env
        return
    api, store = free_port(), free_port()
    with postgres(folder) as address:
        server = [BIN / "prefect", "server", "start", "--port", api]
        database = f"postgresql+asyncpg://{address}/prefect"
        mlflow = [BIN / "mlflow", "server", "--port", store, "--workers", 2]
        mlflow += ["--backend-store-uri", f"postgresql://{address}/mlflow"]
        mlflow += ["--artifacts-destination", folder / "store"]
        with (
            process(
                server, folder / "prefect.log", f"http://127.0.0.1:{api}/api/health",
                PREFECT_API_DATABASE_CONNECTION_URL=database, PREFECT_HOME=str(folder / "prefect-home"),
            ),
            process(
                mlflow, folder / "mlflow.log", f"http://127.0.0.1:{store}/health",
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            ),
        ):  # fmt: skip
            yield {
                **env,
                "PREFECT_API_URL": f"http://127.0.0.1:{api}/api",
                "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{store}",
            }


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
        "errors": [text[-2000:] for text in failed],
    }
    known = json.loads(arguments.result.read_text()) if arguments.result.exists() else {}
    arguments.result.write_text(json.dumps({**known, arguments.kind: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(failed) or found["stages computed twice"] > 0 or found["left in RUNNING"] > 0)


if __name__ == "__main__":
    main()
