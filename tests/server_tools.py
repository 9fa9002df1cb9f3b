"""What tests of real servers share: a free port, whether an address answers, and waiting for what must happen."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET comes back with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(url: str, body: object = None) -> Any:
    """The JSON that a GET brings, or a POST if there is a body; None if there is nothing in the answer.

    A server that says it is busy (503: Prefect's, while SQLite is locked) is asked again, as Prefect's own client does.
    """
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    found: list[Any] = []

    def answered() -> bool:
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                found.append(json.loads(answer.read() or b"null"))
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        return bool(found)

    until(answered, f"an answer of {url}", seconds=300)
    return found[0]


def until(condition: Callable[[], object], what: str, seconds: float = 600) -> None:
    """Wait for a condition; AssertionError if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.2)
