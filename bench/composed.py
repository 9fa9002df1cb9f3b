"""The services of docker/compose.yaml as plain processes of this machine, with its own commands, settings and checks.

What differs from containers: host names and ports are those of loopback, Postgres is Debian's, the S3 store is moto's
server (`pip install psycopg2-binary boto3 "moto[s3,server]"`).
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
WAIT = 900.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[Any], log: Path, healthy: Callable[[], bool], **env: str) -> Iterator[None]:
    """A service while the block runs; it is up when it is `healthy`."""
    with log.open("a") as out:
        started = subprocess.Popen(
            list(map(str, command)), env={**os.environ, **env}, stdout=out, stderr=out, start_new_session=True, cwd=ROOT
        )
    try:
        deadline = time.monotonic() + WAIT
        while not healthy():
            if time.monotonic() > deadline or started.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start, see {log}")
            time.sleep(0.5)
        yield
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:  # as an engine does after the grace period
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def postgres(folder: Path, password: Path) -> Iterator[int]:
    """Debian's Postgres with the databases that the image and docker/mlflow.sql make; yields its port."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    data, port = folder / "postgres", free_port()
    # Postgres refuses root.
    user = "postgres" if getpass.getuser() == "root" else getpass.getuser()
    become = ["/sbin/runuser", "-u", user, "--"] if getpass.getuser() == "root" else []
    data.mkdir()
    folder.chmod(0o755)
    known = data.with_suffix(".password")
    shutil.copy(password, known)
    for path in (data, known):
        shutil.chown(path, user)

    def call(*command: object) -> None:
        subprocess.run([*become, *map(str, command)], check=True, cwd="/", stdout=subprocess.DEVNULL)

    call(programs / "initdb", "-D", data, "-U", "kpod", "--auth", "scram-sha-256", "--pwfile", known, "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    call(programs / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start")
    try:
        address = f"postgresql://kpod:{password.read_text()}@127.0.0.1:{port}"
        call(programs / "psql", "-q", f"{address}/postgres", "-c", "CREATE DATABASE prefect OWNER kpod")
        sql = (ROOT / "docker" / "mlflow.sql").read_text()
        call(programs / "psql", "-q", f"{address}/prefect", "-c", sql)
        yield port
    finally:
        call(programs / "pg_ctl", "-D", data, "-m", "fast", "stop")


@contextmanager
def composed(folder: Path) -> Iterator[dict[str, str]]:
    """All services up and healthy; yields what a client needs in its environment."""
    secrets = folder / "secrets"
    shutil.copy(ROOT / "docker" / "secrets.sh", folder)
    subprocess.run(["/bin/sh", str(folder / "secrets.sh")], check=True, env={**os.environ, "OPENAI_API_KEY": "none"})
    ports = {name: free_port() for name in ("s3", "prefect", "mlflow")}
    with ExitStack() as stack:
        ports["postgres"] = stack.enter_context(postgres(folder, secrets / "postgres"))
        places = {
            "$$": "$", "/run/secrets/": f"{secrets}/", "@postgres:5432": f"@127.0.0.1:{ports['postgres']}",
            "http://s3:9000": f"http://127.0.0.1:{ports['s3']}", "http://prefect:4200": f"http://127.0.0.1:{ports['prefect']}",
            "http://mlflow:5000": f"http://127.0.0.1:{ports['mlflow']}", "--host 0.0.0.0": "--host 127.0.0.1",
            "--port 4200": f"--port {ports['prefect']}", "--port 5000": f"--port {ports['mlflow']}",
            ":4200/": f":{ports['prefect']}/", ":5000/": f":{ports['mlflow']}/",
        }  # fmt: skip

        def here(text: str) -> str:
            for container, local in places.items():
                text = text.replace(container, local)
            return text

        def healthy(name: str) -> bool:
            test = [here(word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
            test[0] = str(BIN / test[0])
            return subprocess.run(test, capture_output=True, check=False).returncode == 0

        common = {"PATH": f"{BIN}:{os.environ['PATH']}", "AWS_DEFAULT_REGION": "us-east-1"}
        stack.enter_context(
            process(
                [shutil.which("moto_server"), "-H", "127.0.0.1", "-p", ports["s3"]], folder / "s3.log",
                lambda: answers(f"http://127.0.0.1:{ports['s3']}/moto-api/"),
            )
        )  # fmt: skip
        _bucket(ports["s3"])
        for name in ("prefect", "mlflow"):
            stack.enter_context(_service(name, here, folder, common, lambda name=name: healthy(name)))
        client = {
            "KPOD_HOME": str(folder / "home"),
            "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
            "PREFECT_API_AUTH_STRING": (secrets / "prefect").read_text(),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['mlflow']}",
        }
        polling = {**common, "KPOD_HOME": client["KPOD_HOME"], "PYTHONPATH": str(ROOT)}
        ready = folder / "worker.log"
        stack.enter_context(
            _service("worker", here, folder, polling, lambda: ready.exists() and "started!" in ready.read_text())
        )
        yield client


def _service(
    name: str, here: Callable[[str], str], folder: Path, env: dict[str, str], healthy: Callable[[], bool]
) -> Any:
    """A service by the entry point, command and environment of the compose file."""
    service = SERVICES[name]
    given = {key: here(str(value)) for key, value in service["environment"].items() if "${" not in str(value)}
    state = {"PREFECT_HOME": str(folder / f"{name}-state")}
    command = [*service["entrypoint"], here(service["command"][0])]
    return process(command, folder / f"{name}.log", healthy, **{**env, **given, **state})


def _bucket(port: int) -> None:
    """What the service `bucket` makes."""
    import boto3

    store = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="kpod", aws_secret_access_key="moto asks for none",  # noqa: S106
    )  # fmt: skip
    store.create_bucket(Bucket="mlflow")
    store.put_bucket_versioning(Bucket="mlflow", VersioningConfiguration={"Status": "Enabled"})
