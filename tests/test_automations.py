"""Automations on a real Prefect server: a silent run is marked as crashed, people are told of it and of champions."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from server_tools import answers, free_port, until

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a server's start, and the silence that has to be heard
# A run that says once that it lives and then nothing more, as one whose worker was killed with it.
SCRIPT = """
import sys
from datetime import timedelta
from prefect import flow, get_client
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.states import Running
from flows.automations import HEARTBEAT, install
from flows.events import decided

@flow(name="silent")
def silent(): ...

for _ in range(2):  # a second time renews them
    print(install(sys.argv[1], silence=timedelta(seconds=10)), flush=True)
with get_client(sync_client=True) as client:
    run = client.create_flow_run(silent, state=Running())
    emit_event(event=HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"})
    decided("svamp", "promote", {"version": "7", "reason": "+3.0 points"})
    EventsWorker.instance().drain()
    print("RUN", run.id, flush=True)
"""


def get(url: str) -> object:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and the texts that it was sent."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", texts
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a client of a running Prefect server."""
    port = free_port()
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), "the server's start")
        yield {**env, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_silent_run_is_marked_and_people_are_told(server: dict[str, str], told: tuple[str, list[str]]) -> None:
    address, texts = told
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, address], env=server, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = done.stdout.split("RUN ")[1].strip()

    def state() -> str:
        found = get(f"{server['PREFECT_API_URL']}/flow_runs/{run}")
        return found["state"]["type"] if isinstance(found, dict) else ""

    until(lambda: state() == "CRASHED", "the mark on the silent run")
    until(lambda: any("svamp version 7: +3.0 points" in text for text in texts), "the news of the champion")
    until(lambda: any("silent Crashed" in text and run in text for text in texts), "the news of the crash")
    assert len([text for text in texts if "version 7" in text]) == 1  # renewed, not doubled
