"""Prefect's embedded server takes seconds to start, in a process of its own: whoever runs a flow can work meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from threading import Thread

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from kpod.store.files import run_once


@contextmanager
def starting() -> Iterator[None]:
    """Start the server that the next flow of this process will find; without effect where PREFECT_API_URL is set.

    A server that does not start is reported by that flow, which tries again.
    """
    if PREFECT_API_URL.value():
        yield
        return
    thread = Thread(target=_start, name="embedded Prefect server", daemon=True)
    thread.start()
    yield
    thread.join()


def _start() -> None:
    server = SubprocessASGIServer()
    if server.port is None:  # Prefect draws one of a thousand, and two runs that start together may draw the same
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server.port = probe.getsockname()[1]
    with suppress(Exception):
        # The first server of a state folder makes its tables, which two must not do at once.
        run_once(Path(PREFECT_HOME.value()) / f".made.{version('prefect')}", server.start)
        server.start()
