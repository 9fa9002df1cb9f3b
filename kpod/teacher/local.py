"""Which teacher is asked: its address, its key, and what tells it apart from others of the same model name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpod import questions
from kpod.config import Endpoint, OpenAIEndpoint, ReplayEndpoint, ScriptedEndpoint
from kpod.files import sha256_file, sha256_tree
from kpod.teacher import key, scripted
from kpod.teacher.server import running


@contextmanager
def address(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """(base URL, API key) for the `with` block; a local teacher runs for that long. Raises ConfigError, DataError."""
    if isinstance(endpoint, OpenAIEndpoint):
        yield key.base_url(endpoint), key.api_key(endpoint)
    elif isinstance(endpoint, ScriptedEndpoint | ReplayEndpoint):
        with running(endpoint) as url:
            yield url, key.NO_KEY


def identity(endpoint: Endpoint) -> str:
    """Part of every content key. Empty for a real server: its model name says who answers, wherever it runs."""
    if isinstance(endpoint, ScriptedEndpoint):
        script = sha256_tree(Path(questions.__file__).parent) + sha256_file(Path(scripted.__file__))
        return f"{endpoint.model_dump_json()} {script}"
    if isinstance(endpoint, ReplayEndpoint):
        return " ".join(sha256_file(path) for path in (endpoint.rationales, *endpoint.questions))
    return ""
