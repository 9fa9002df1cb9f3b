"""Prefect's embedded server takes seconds to start, in a process of its own: whoever runs a flow can work meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from threading import Thread

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from kpod.files import once


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
    with suppress(Exception):
        # The first server of a state folder makes its tables, which two must not do at once.
        once(Path(PREFECT_HOME.value()) / f".made.{version('prefect')}", server.start)
        server.start()
