"""The API key: read where it is used, and removed from every text that leaves the client.

It comes from the environment, or from a caller that can read a store of secrets (`register_key`).
"""

import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from kpod.config import OpenAIEndpoint
from kpod.errors import ConfigError
from kpod.text.hygiene import well_formed

DEFAULT_URL = "https://api.openai.com/v1"
NO_KEY = "none"
_keys: dict[str, str] = {}  # by the name of the block
ROUTES = ("/chat/completions", "/completions", "/models", "/batches")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """A base URL and its query, which some servers need on every request (`?api-version=2024-06-01`)."""

    root: str
    query: str

    @classmethod
    def of(cls, url: str) -> "Address":
        """The address of a URL."""
        root, _, query = url.partition("?")
        return cls(root, query)

    @property
    def parameters(self) -> dict[str, object]:
        """The query as the `openai` client expects it."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def url_of(self, route: str) -> str:
        """The address of a route."""
        return f"{self.root}{route}{'?' if self.query else ''}{self.query}"


def without_route(url: str) -> str:
    """`url` without a route of the API at its end, as providers' pages show it, but with its query."""
    root, mark, query = url.partition("#")[0].partition("?")
    root = root.rstrip("/")
    for route in ROUTES:
        root = root.removesuffix(route).rstrip("/")
    return f"{root}{mark if query else ''}{query}"


def base_url(endpoint: OpenAIEndpoint) -> str:
    """The root of the API, with its query if there is one. Raises ConfigError if it is no http(s) address, or has a
    password in it.
    """
    url = (endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).strip()
    try:
        split = urlsplit(url)
        fits = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"teacher.endpoint.base_url: {url!r} is no address; write it like http://127.0.0.1:8000/v1")
    if split.username or split.password:
        raise ConfigError("teacher.endpoint.base_url must not hold a password: name a variable in api_key_env")
    return without_route(url)


def register_key(block: str, key: str) -> None:
    """Register the key of a Prefect block for the stages that run in this process."""
    _keys[block] = key.strip()


def api_key(endpoint: OpenAIEndpoint) -> str:
    """The key, NO_KEY for a server that needs none. Raises ConfigError if its variable or block is missing."""
    if endpoint.api_key_block is not None:
        if key := _keys.get(endpoint.api_key_block):
            return key
        raise ConfigError(
            f"teacher.endpoint.api_key_block: Prefect has no Secret block {endpoint.api_key_block!r} with a key;"
            " make it on the page Blocks of Prefect's UI, or name an environment variable in api_key_env"
        )
    if endpoint.api_key_env is None:
        return NO_KEY
    if key := os.environ.get(endpoint.api_key_env, "").strip():
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"teacher.endpoint.api_key_env: {endpoint.api_key_env} holds characters that no key has")
        return key
    if urlsplit(base_url(endpoint)).hostname in LOOPBACK:
        return NO_KEY
    raise ConfigError(
        f"teacher.endpoint.api_key_env: the environment variable {endpoint.api_key_env} is not set;"
        " set it, or give null for a server that needs no key"
    )


def redact(text: str, key: str) -> str:
    """`text` on one line, without the key: providers echo it in their error messages."""
    if key and key != NO_KEY:
        text = text.replace(key, "[key]")
    return well_formed(" ".join(text.split()))
