"""Start of Prefect's embedded server, which takes seconds, in the background."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from threading import Thread

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings

from kpod.store.files import run_once
from kpod.store.liveness import kill_on_exit


@contextmanager
def starting() -> Iterator[None]:
    """Start the embedded server for the next flow of this process during the block; nothing if PREFECT_API_URL is set.

    A server that does not start is reported by that flow, which tries again.
    """
    if PREFECT_API_URL.value():
        yield
        return
    thread = Thread(target=_start, name="embedded Prefect server", daemon=True)
    thread.start()
    yield
    thread.join()


class _Server(SubprocessASGIServer):
    """Prefect's embedded server, not stopped by Ctrl-C in the terminal: an interrupted flow still reports its end.

    Created before Prefect's own, it is the instance that Prefect uses.
    """

    def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
        options = {"host": "127.0.0.1", "port": self.port, "log-level": "error", "lifespan": "on"}
        process = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
                *(word for name, value in options.items() for word in (f"--{name}", str(value))),
            ],
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                **get_current_settings().to_environment_variables(exclude_unset=True),
            },
            process_group=0,
        )
        kill_on_exit(process.pid)  # this process may be killed before its flow begins
        return process


def _start() -> None:
    server = _Server()
    if server.port is None:  # Prefect draws one of a thousand, and two runs that start together may draw the same
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server.port = probe.getsockname()[1]
    with suppress(Exception):
        # The first server of a state folder makes its tables, which two must not do at once.
        run_once(Path(PREFECT_HOME.value()) / f".made.{version('prefect')}", server.start)
        server.start()
