"""Access to the Hugging Face hub where there may be no network: its clients would retry for a minute."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies


@contextmanager
def hub_resolved_once() -> Iterator[None]:
    """Put the hub's clients offline inside the block if the hub's name does not resolve.

    They then use their cache or fail at once; the OSError raised names the host. Behind a proxy, which resolves names
    itself, nothing changes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies() or _resolves(constants.ENDPOINT):
        yield
        return
    modules = [constants, *([sys.modules["datasets.config"]] if "datasets.config" in sys.modules else [])]
    for module in modules:
        module.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    except OSError as error:
        raise OSError(f"the name {urlsplit(constants.ENDPOINT).hostname} does not resolve; {error}") from error
    finally:
        for module in modules:
            module.HF_HUB_OFFLINE = False  # type: ignore[attr-defined]


def _resolves(address: str) -> bool:
    try:
        socket.getaddrinfo(urlsplit(address).hostname, 443)
    except OSError:
        return False
    return True
