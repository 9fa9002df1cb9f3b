"""What the tests of the teacher share: questions, a brain that remembers, and the counts of a server."""

import json
import re
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kpod import schemas
from kpod.config import OpenAIEndpoint, Teacher
from kpod.teacher.http import HttpResponse
from kpod.teacher.server import TeacherServer
from kpod.teacher.stage import run

# Arguments: folder of the questions, settings as JSON, output folder.
RUN = """
import sys
from pathlib import Path
from kpod.config import Teacher
from kpod.teacher.stage import run
run({"questions": Path(sys.argv[1])}, Teacher.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
"""


class Sums:
    """Answers "How much is 3 plus 4?" and remembers every prompt, in the order in which they came."""

    def __init__(self, word: Callable[[int, int], str] | None = None) -> None:
        """`word`: (sum, sample) -> reply."""
        self._word = word or (
            lambda total, sample: f"Both are put together. That makes {total}. The answer is {total}."
        )
        self.prompts: list[str] = []
        self._lock = threading.Lock()

    def answer(self, prompt: str, sample: int) -> str:
        with self._lock:
            self.prompts.append(prompt)
        a, b = map(int, re.findall(r"How much is (\d+) plus (\d+)\?", prompt)[-1])
        return self._word(a + b, sample)


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of schemas.QUESTIONS, all in the training split."""
    return [
        {
            "id": f"q{i:04d}",
            "dataset": "sums",
            "split": "train",
            "question": f"How much is {i} plus {i + 3}?",
            "answer": str(2 * i + 3),
            "choices": None,
        }
        for i in range(first, first + count)
    ]


def write(folder: Path, questions: list[dict[str, Any]]) -> dict[str, Path]:
    """The stage's inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    schemas.write(folder / "questions.parquet", schemas.table(questions, schemas.QUESTIONS))
    return {"questions": folder}


def teacher(url: str, **settings: Any) -> Teacher:
    """Settings for a server under test."""
    return Teacher(endpoint=OpenAIEndpoint(base_url=url), model="kpod-teacher", **settings)


def execute(tmp_path: Path, config: Teacher, questions: list[dict[str, Any]]) -> tuple[dict[str, float], list[Any]]:
    """Run the stage; returns the metrics and the rows of rationales.parquet."""
    out = tmp_path / "out"
    out.mkdir(parents=True, exist_ok=True)
    metrics = run(write(tmp_path / "questions", questions), config, out)
    return metrics, table(out)


def table(out: Path) -> list[dict[str, Any]]:
    """The rows of rationales.parquet."""
    return pq.read_table(out / "rationales.parquet").to_pylist()


def interfere(patch: pytest.MonkeyPatch, say: Callable[[TeacherServer, dict[str, Any]], HttpResponse | None]) -> None:
    """Let `say` answer requests of the local servers by body; None leaves the answer to the server."""
    real = TeacherServer._finish

    def finish(self: TeacherServer, body: dict[str, Any], *rest: Any) -> HttpResponse:
        return say(self, body) or real(self, body, *rest)

    patch.setattr(TeacherServer, "_finish", finish)


def stats(url: str) -> dict[str, Any]:
    """The server's counts."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=30) as answer:
        return json.load(answer)
