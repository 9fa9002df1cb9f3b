"""Kill a pipeline in every stage and see what the next run makes of it. Real processes, real signals, a real server.

    python bench/crash_matrix.py [--kinds kill cancel disk trainer prefect mlflow worker] [--result FILE.json]

One state folder a kind. For every stage and point a run is started, stopped at the point, and hit; the next run is
the next cell's, so each recovery is exercised. At the end a run that nobody disturbs must finish, and:

- every stage's bytes equal those of a pipeline that was never disturbed;
- every stage's work was done as often as its kills explain, and no more (`executions`);
- MLflow and Prefect have no run in RUNNING, MLflow has one finished run a stage; no lock and no slot of the
  teacher's limit is held; no process is left; no file is half.

Runs are forked from one process that has done the imports, which is what makes the matrix affordable; those of the
kind `worker` are runs of the deployment kpod/full-pipeline on a real worker. Each kind's result is written when it is
there, so the kinds can be run one by one.
"""

import argparse
import contextlib
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
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
STAGES = (
    *("questions", "rationales", "steps", "base", "tokens"),
    *("weights", "difficulty", "curriculum", "distill", "evaluate"),
)
RANKED = ("weights", "difficulty", "distill")
POINTS = ("begun", "worked", "published", "stored")
# Where each kind strikes. Only three stages can have processes of their own to kill.
CELLS = {
    "kill": [(stage, point) for stage in STAGES for point in POINTS],
    "cancel": [(stage, "begun") for stage in STAGES],
    "disk": [(stage, "begun") for stage in STAGES],
    "trainer": [(stage, "begun") for stage in RANKED],
    "prefect": [(stage, "begun") for stage in STAGES],
    "mlflow": [(stage, "worked") for stage in STAGES],
    "worker": [(stage, "begun") for stage in STAGES],
}
WAIT = 900.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition that will come; RuntimeError if it does not."""
    deadline = time.monotonic() + WAIT
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen in {WAIT:.0f} s")
        time.sleep(0.05)
    return found


class Server:
    """A Prefect or MLflow server, or a worker, as a process group of its own; on one port however often it starts."""

    def __init__(self, name: str, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url, self._home = f"http://127.0.0.1:{self.port}", home
        bin = Path(sys.executable).parent
        store = f"sqlite:///{home}/mlflow.db"
        self._command = {
            "prefect": [bin / "prefect", "server", "start", "--port", str(self.port)],
            "mlflow": [
                bin / "mlflow", "server", "--port", str(self.port), "--workers", "1",
                "--backend-store-uri", store, "--artifacts-destination", str(home / "store"),
            ],
            "worker": [bin / "prefect", "worker", "start", "--pool", "kpod", "--with-healthcheck"],
        }[name]  # fmt: skip
        self._name, self._health = name, "/api/health" if name == "prefect" else "/health"

    def start(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        env = {
            **os.environ,
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.port),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        if self._name == "prefect":
            env.pop("PREFECT_API_URL", None)
        log = (self._home / "server.log").open("a")
        self._process = subprocess.Popen(
            list(map(str, self._command)), env=env, stdout=log, stderr=log, start_new_session=True
        )
        until(self._answers, f"the start of {self._command[0]}")

    def kill(self) -> None:
        if self._name == "worker":
            self._process.kill()  # it alone: the run that it has started must notice by itself
        else:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        return api(self.url + self._health) is not None


def api(url: str, body: Any = None) -> Any:
    """The JSON that an address answers, None if it does not."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            text = answer.read()
    except OSError:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def prefect(*arguments: str) -> str:
    """What a command of Prefect's says."""
    command = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", *arguments]
    return subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout


def run_child(home: Path, config: Any, stop: tuple[str, str] | None, alone: bool = False) -> int:
    """Fork a pipeline that stops at `stop` (stage, point): writes `ready` there and waits for `go`.

    With `alone`, that stage is computed whatever is known of it, and is the last.
    """
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(home / "runs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        hook(home, stop)
        from flows.pipeline import kpod

        only: Any = {"refresh": [stop[0]], "until": stop[0]} if alone and stop else {}
        kpod(config=config, **only)
        status = 0
    except BaseException as error:  # what a cancelled or failing run says is part of the log
        print(f"ENDED {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)
    return 0


def hook(home: Path, stop: tuple[str, str] | None) -> None:
    """Have this process count the stages' executions, and wait at `stop`."""
    from kpod import tracking
    from kpod.run import stages
    from kpod.store import artifacts

    real_import, real_seal, real_upload = stages.import_module, artifacts.seal, tracking.TrackedRun.upload
    current = [""]

    def at(point: str) -> None:
        if stop == (current[0], point):
            (home / "ready.new").write_text(str(os.getpid()))
            (home / "ready.new").rename(home / "ready")
            while not (home / "go").exists():
                time.sleep(0.02)

    def wrapped(name: str) -> Any:
        module = real_import(name)

        def run(inputs: Any, settings: Any, out: Path) -> Any:
            current[0] = out.name.partition("-")[0]
            at("begun")
            figures = module.run(inputs, settings, out)
            with (home.parent / f"{home.name}.executions").open("a") as file:
                file.write(f"{current[0]}\n")
            at("worked")
            return figures

        return SimpleNamespace(run=run)

    def seal(*arguments: Any) -> Any:
        sealed = real_seal(*arguments)
        at("published")
        return sealed

    def upload(self: Any, folder: Path) -> str:
        uri = real_upload(self, folder)
        current[0] = folder.parent.name
        at("stored")
        return uri

    stages.import_module, artifacts.seal = wrapped, seal  # type: ignore[assignment]
    tracking.TrackedRun.upload = upload  # type: ignore[method-assign]


def ended(pid: int) -> int:
    """Wait for a child; its exit status, negative for a signal."""
    found = until(lambda: (got := os.waitpid(pid, os.WNOHANG))[0] and got, "the end of a run")
    return os.waitstatus_to_exitcode(found[1])


def left_over(home: Path, session: int) -> list[str]:
    """Processes that a run left behind: those of its session, and its ranks, after the ten seconds they are given."""
    deadline = time.monotonic() + 10
    while (found := _processes(home, session)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [arguments for _, arguments in found]


def _processes(home: Path, session: int) -> list[tuple[int, str]]:
    """Living processes (id, arguments) of a session, and the ranks of this state folder, in sessions of their own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            arguments = " ".join(process.cmdline())
            rank = "kpod.training.worker" in arguments and process.environ().get("KPOD_HOME") == str(home)
            if process.status() != psutil.STATUS_ZOMBIE and (rank or os.getsid(process.pid) == session):
                found.append((process.pid, arguments))
    return found


def _reached(home: Path, pid: int, cell: str) -> bool:
    """Whether the run stopped at its point; False if it ended before."""
    return until(lambda: (home / "ready").exists() or os.waitpid(pid, os.WNOHANG)[0], cell) is True


def _rank(home: Path, session: int) -> int:
    """A process of torchrun's that computes, 0 if there is none yet."""
    found = _processes(home, session)
    return next((pid for pid, told in found if "kpod.training.worker" in told and "--processes" not in told), 0)


def strike(kind: str, home: Path, pid: int, servers: dict[str, Server]) -> str:
    """Do to the waiting run what the kind says, and tell how it ended."""
    if kind == "trainer":
        (home / "go").touch()
        os.kill(until(lambda: _rank(home, pid), "the start of the ranks"), signal.SIGKILL)
    elif kind == "kill":
        os.kill(pid, signal.SIGKILL)
    elif kind == "cancel":
        os.kill(pid, signal.SIGTERM)  # as Prefect's runner ends a cancelled run
    elif kind == "disk":
        with contextlib.suppress(OSError), (home / "filler").open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 16))
                file.flush()
        (home / "go").touch()
    else:
        servers[kind].kill()
        (home / "go").touch()
    status = ended(pid)
    (home / "filler").unlink(missing_ok=True)
    if kind in ("prefect", "mlflow"):
        servers[kind].start()
    return {0: "finished all the same", -9: "killed"}.get(status, "cancelled" if kind == "cancel" else "failed")


def results(home: Path) -> dict[str, str]:
    """The digest of every stage's result under its key."""
    from kpod.store.files import sha256_tree

    return {
        f"{f.parent.name}/{f.name}": sha256_tree(f) for f in home.glob("artifacts/*/*") if f.parent.name != "report"
    }


def in_prefect() -> tuple[int, int]:
    """Runs that Prefect takes for alive, and slots taken of the teacher's limit."""
    url = os.environ["PREFECT_API_URL"]
    alive = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}}
    limit = api(f"{url}/v2/concurrency_limits/kpod-teacher")
    return len(api(f"{url}/flow_runs/filter", alive)), limit["active_slots"]


def settled(seconds: float = 300) -> tuple[int, int]:
    """As `in_prefect`, once the dead have been noticed or the time is up."""
    deadline = time.monotonic() + seconds
    while any(found := in_prefect()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def inspect(home: Path, clean: dict[str, str]) -> dict[str, Any]:
    """What must hold after the last run."""
    from kpod import tracking
    from kpod.store.files import locked

    client = tracking.client()
    runs = client.search_runs([tracking.experiment_id(client)], max_results=1000)
    finished = Counter(r.data.tags.get("kpod.cache_key") for r in runs if r.info.status == "FINISHED")
    stage_runs = {key: n for key, n in finished.items() if key}
    running = [r.data.tags["kpod.stage"] for r in runs if r.info.status == "RUNNING"]
    executions = (home.parent / f"{home.name}.executions").read_text().split()
    alive, slots = settled()
    return {
        "same bytes as undisturbed": results(home) == clean,
        "stage runs left in RUNNING": sum(stage != "pipeline" for stage in running),
        "parent runs left in RUNNING": sum(stage == "pipeline" for stage in running),
        "finished runs a stage": max(stage_runs.values()),
        "locks held": sum(locked(path) for path in home.glob("locks/*.lock")),
        "temporary files": len([p for p in home.rglob("*.tmp") if "prefect" not in p.parts]),
        "work folders": len(list(home.glob("work/*"))),
        "Prefect runs left in RUNNING": alive,
        "slots of the teacher's limit held": slots,
        "executions": dict(Counter(executions)),
    }


def matrix(kind: str, folder: Path, config: Any, clean: dict[str, str], servers: dict[str, Server]) -> dict[str, Any]:
    """All cells of one kind on one state folder."""
    home = folder / kind
    home.mkdir()
    if kind == "disk":
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(home)], check=True)
    os.environ["KPOD_HOME"] = str(home)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of the kind before
    if kind == "mlflow":
        servers["mlflow"].start()
        os.environ["MLFLOW_TRACKING_URI"] = servers["mlflow"].url
    if kind == "trainer":  # two processes round otherwise than one
        parts = {name: getattr(config, name).model_copy(update={"processes": 2}) for name in RANKED}
        config = config.model_copy(update=parts)
        clean = undisturbed(folder / "clean-2", config)
        os.environ["KPOD_HOME"] = str(home)
    if kind == "worker":
        prepare_worker(folder, servers["worker"])
    cells = []
    try:
        for stage, point in CELLS[kind]:
            for name in ("ready", "go"):
                (home / name).unlink(missing_ok=True)
            if kind == "worker":
                outcome = on_worker(home, config, (stage, point), servers["worker"])
                cells.append({"stage": stage, "point": point, "run": outcome})
                print(f"{kind:<8} {stage:<11} {point:<10} {outcome}", flush=True)
                continue
            # Without its Prefect server a run goes on to the end, and would leave nothing to the next cell.
            pid = run_child(home, config, (stage, point), alone=kind == "prefect")
            if not _reached(home, pid, f"{stage} {point}"):
                raise RuntimeError(f"{kind}: the run before {stage} {point} ended by itself, see {home}/runs.log")
            outcome = strike(kind, home, pid, servers)
            cells.append({"stage": stage, "point": point, "run": outcome, "left over": left_over(home, pid)})
            print(f"{kind:<8} {stage:<11} {point:<10} {outcome}", flush=True)
        status = ended(run_child(home, config, None))
        found = {"cells": cells, "last run": "finished" if status == 0 else "FAILED", **inspect(home, clean)}
    finally:
        if kind == "disk":
            subprocess.run(["/bin/umount", "-l", str(home)], check=False)
        if kind in ("mlflow", "worker"):
            servers[kind].kill()
    return found


def undisturbed(home: Path, config: Any) -> dict[str, str]:
    """The results of a pipeline that nobody hits, computed in `home`."""
    os.environ["KPOD_HOME"] = str(home)
    home.mkdir(exist_ok=True)
    if ended(run_child(home, config, None)):
        raise RuntimeError(f"the undisturbed run failed, see {home}/runs.log")
    return results(home)


def prepare_worker(folder: Path, worker: Server) -> None:
    """Deploy, and start a worker whose runs take the hook from their environment."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, pathlib, sys\n"
        "if 'KPOD_STOP' in os.environ:\n"
        f"    sys.path.insert(0, {str(ROOT / 'bench')!r})\n"
        "    from crash_matrix import hook\n"
        "    hook(pathlib.Path(os.environ['KPOD_HOME']), tuple(os.environ['KPOD_STOP'].split()))\n"
    )
    os.environ["PYTHONPATH"] = f"{site}:{ROOT}"
    os.environ["PWD"] = str(ROOT)
    prefect("work-pool", "create", "kpod", "--type", "process")
    prefect("work-queue", "create", "gpu", "--pool", "kpod", "--limit", "1")
    prefect("deploy", "-n", "full-pipeline")
    worker.start()


def on_worker(home: Path, config: Any, stop: tuple[str, str], worker: Server) -> str:
    """A run of the deployment is stopped at its point, its worker killed there, and another worker started."""
    url = os.environ["PREFECT_API_URL"]
    deployment = api(f"{url}/deployments/name/kpod/full-pipeline")["id"]
    asked = {
        "parameters": {"config": config.model_dump(mode="json")},
        "job_variables": {"env": {"KPOD_STOP": " ".join(stop)}},
    }
    run = api(f"{url}/deployments/{deployment}/create_flow_run", asked)["id"]
    until((home / "ready").exists, f"{stop} on the worker")
    pid = int((home / "ready").read_text())
    worker.kill()
    killed = time.monotonic()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the run without its worker")
    worker.start()
    until(lambda: api(f"{url}/flow_runs/{run}")["state"]["type"] == "CRASHED", "the mark on the dead run")
    return f"ended with its worker, marked as crashed after {time.monotonic() - killed:.0f} s"


HIT = {
    "kill": "SIGKILL of the run (flow engine and trainer are one process)",
    "cancel": "SIGTERM to the run, as Prefect's runner ends a cancelled one",
    "disk": "the disk is filled to the last byte, the run goes on into it",
    "trainer": "SIGKILL of one of the two processes that compute the stage (torchrun)",
    "prefect": "SIGKILL of the Prefect server, the run goes on",
    "mlflow": "SIGKILL of the MLflow server, the run goes on",
    "worker": "SIGKILL of the worker that had started the run, which is one of the deployment kpod/full-pipeline",
}
POINT = {
    "begun": "the stage has its workspace and inputs, nothing is computed",
    "worked": "everything is computed, the folder is not published",
    "published": "the folder is under its final name, MLflow does not have it",
    "stored": "MLflow has it, the stage's run is not ended",
}


def markdown(report: dict[str, Any]) -> str:
    """The result as the page of the docs."""
    lines = [
        "# Crash matrix",
        "",
        "Made by `python bench/crash_matrix.py`. The smallest pipeline is interrupted at a point of a stage; each",
        "following run recovers from the one before and is interrupted at the next point; the last is not interrupted.",
        f"Made on {report['date']}, Prefect on SQLite, MLflow on SQLite (on a server for the kind `mlflow`).",
        "Runs send a heartbeat every 30 s and are marked as crashed after 90 s of silence; the teacher's limit is 1.",
        "",
        *(f"- **{point}**: {text}" for point, text in POINT.items()),
        "",
        "| stage | " + " | ".join(f"{kind} ({point})" for kind in report["kinds"] for point in _points(kind)) + " |",
        "|---|" + "---|" * sum(len(_points(kind)) for kind in report["kinds"]),
    ]
    for stage in STAGES:
        row = []
        for kind, one in report["kinds"].items():
            cells = {(cell["stage"], cell["point"]): cell for cell in one["cells"]}
            row += [_told(cells.get((stage, point))) for point in _points(kind)]
        lines.append(f"| {stage} | " + " | ".join(row) + " |")
    checks = dict.fromkeys(check for one in report["kinds"].values() for check in one)
    lines += ["", "After the last run:", "", "| | " + " | ".join(report["kinds"]) + " |"]
    lines.append("|---|" + "---|" * len(report["kinds"]))
    for check in (check for check in checks if check not in ("cells", "executions")):
        lines.append(f"| {check} | " + " | ".join(str(one.get(check, "-")) for one in report["kinds"].values()) + " |")
    for kind, one in report["kinds"].items():
        done = ", ".join(f"{stage} {count}" for stage, count in one["executions"].items())
        lines += ["", f"`{kind}`: {HIT[kind]}. Times that a stage's work was finished: {done}."]
    if missing := [HIT[kind] for kind in CELLS if kind not in report["kinds"]]:
        lines += ["", "In the script, but not run yet: " + "; ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def _points(kind: str) -> list[str]:
    return [point for point in POINTS if point in {p for _, p in CELLS[kind]}]


def _told(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    return cell["run"] + (f", {len(cell['left over'])} processes left" if cell.get("left over") else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--result", type=Path, default=ROOT / "bench" / "results" / "crash_matrix.json")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "crash-matrix.md")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kpod-crash-"))
    os.environ["KPOD_HOME"] = str(folder / "clean")
    from kpod.store.home import prepare, set_environment

    set_environment()
    servers = {name: Server(name, folder / f"{name}-server") for name in ("prefect", "mlflow", "worker")}
    servers["prefect"].start()
    os.environ["PREFECT_API_URL"] = f"{servers['prefect'].url}/api"
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "30"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"  # the server stays away until the run has ended
    prefect("global-concurrency-limit", "create", "kpod-teacher", "--limit", "1")
    subprocess.run([sys.executable, "-m", "kpod.cli", "automations"], check=True, cwd=ROOT)
    prepare()
    import flows.pipeline  # noqa: F401  # children inherit the imports
    import kpod.distill.stage
    import kpod.evaluate.stage
    import kpod.report.stage
    import kpod.teacher.stage
    import kpod.weighting.stage  # noqa: F401
    from kpod.config.settings import load

    config = load(str(ROOT / "tests" / "tiny.yaml"), ["methods=[kpod]"])
    try:
        clean = undisturbed(folder / "clean", config)
        for kind in arguments.kinds:
            found = matrix(kind, folder, config, clean, servers)
            print(kind, {name: value for name, value in found.items() if name != "cells"}, flush=True)
            _write(kind, found, arguments.result, arguments.table)
    finally:
        servers["prefect"].kill()
    shutil.rmtree(folder, ignore_errors=True)


def _write(kind: str, found: dict[str, Any], result: Path, table: Path) -> None:
    """Put one kind's result among those that are known."""
    known = json.loads(result.read_text())["kinds"] if result.exists() else {}
    kinds = {name: one for name in CELLS if (one := {**known, kind: found}.get(name))}
    report = {"date": date.today().isoformat(), "kinds": kinds}
    result.write_text(json.dumps(report, indent=1) + "\n")
    table.write_text(markdown(report))


if __name__ == "__main__":
    main()
