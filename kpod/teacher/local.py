"""Address, key and identity of a teacher; starts the local ones."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpod import questions
from kpod.config import Endpoint, OpenAIEndpoint, ReplayEndpoint, ScriptedEndpoint
from kpod.errors import TeacherError
from kpod.store.files import sha256_file, sha256_tree
from kpod.teacher import key, scripted


@contextmanager
def address(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """(base URL, API key) of a teacher; a local one runs inside the block.

    Raises ConfigError for an unusable address or key, TeacherError if a local teacher does not start.
    """
    if isinstance(endpoint, OpenAIEndpoint):
        yield key.base_url(endpoint), key.api_key(endpoint)
    elif isinstance(endpoint, ScriptedEndpoint | ReplayEndpoint):
        with _process(endpoint) as url:
            yield url, key.NO_KEY


@contextmanager
def _process(endpoint: ScriptedEndpoint | ReplayEndpoint) -> Iterator[str]:
    """A local teacher in a process of its own, which ends when its stdin closes, so even if this process is killed.

    A thread would compete for the interpreter lock, which takes three times as long.
    """
    command = [sys.executable, "-m", "kpod.teacher.server", endpoint.model_dump_json()]
    # In a process group of its own: Ctrl-C in a terminal reaches only this process, which ends the teacher.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            line = process.stdout.readline().strip() if process.stdout else ""
            if not line.startswith("http"):
                raise TeacherError(f"teacher.endpoint: the local {endpoint.kind} teacher did not start ({line})")
            yield line
        finally:
            process.kill()


def identity(endpoint: Endpoint) -> str:
    """The part of every content key that identifies a local teacher's script or files; empty for a real server."""
    if isinstance(endpoint, ScriptedEndpoint):
        script = sha256_tree(Path(questions.__file__).parent) + sha256_file(Path(scripted.__file__))
        return f"{endpoint.model_dump_json()} {script}"
    if isinstance(endpoint, ReplayEndpoint):
        return " ".join(sha256_file(path) for path in (endpoint.rationales, *endpoint.questions))
    return ""
