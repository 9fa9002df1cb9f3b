"""A student behind a server: the same questions, prompts and stops, retries, and no answer asked for twice."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from evaluate_tiny import QUESTIONS, SAID, learned, questions, student

from kpod import schemas
from kpod.config import Evaluate, StudentServer
from kpod.errors import ConfigError, ModelError
from kpod.evaluate.served import ALIKE, ask
from kpod.evaluate.stage import run
from kpod.models import serve
from kpod.teacher.http import HttpRequest, HttpResponse, refusal, reply, serving
from kpod.text.formats import COT
from kpod.text.prompts import prompt
from kpod.text.stops import STOPS
from kpod.training import models

BY_PROMPT = {prompt(text): name for name, text in QUESTIONS.items()}


class Server:
    """A student on a loopback port that answers `SAID` as a server would: stops applied, ends told."""

    url: str

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.failures: list[HttpResponse] = []

    async def answer(self, request: HttpRequest) -> HttpResponse:
        assert request.path == "/v1/completions"
        body = json.loads(request.body)
        self.asked.append(body)
        if self.failures:
            return self.failures.pop(0)
        name = BY_PROMPT[body["prompt"]]
        said = SAID[name].removesuffix("<eos>")
        said = re.split("|".join(map(re.escape, body["stop"])), said)[0]
        reason = "length" if name == "endless" else "stop"
        return reply({"id": "1", "object": "text_completion", "created": 0, "model": body["model"],
                      "choices": [{"index": 0, "text": said, "finish_reason": reason, "logprobs": None}]})  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server.answer) as server.url:
        yield server


def both(folder: Path, inputs: dict[str, Path], settings: Evaluate, server: StudentServer) -> list[pa.Table]:
    """The predictions of the student asked here, and asked at the server."""
    tables = []
    for name, config in (("local", settings), ("served", settings.model_copy(update={"server": server}))):
        (folder / name).mkdir()
        run(inputs, config, folder / name)
        tables.append(schemas.read(folder / name / "predictions.parquet", schemas.PREDICTIONS))
    return tables


def test_a_served_student_is_judged_like_a_local_one(tmp_path: Path, server: Server) -> None:
    inputs = {"student": student(tmp_path / "base", learned()), "questions": questions(tmp_path / "questions")}
    settings = Evaluate(max_new_tokens=90, precision="fp32")
    tables = both(tmp_path, inputs, settings, StudentServer(base_url=server.url, model="mine"))
    local, there = (table.drop_columns("completion").to_pylist() for table in tables)
    assert local == there
    assert [text for text in tables[1]["completion"].to_pylist() if "Q:" in text] == []
    for body in server.asked:
        assert (body["model"], body["temperature"], body["stop"], body["max_tokens"]) == ("mine", 0.0, STOPS, 90)
        assert body["prompt"] in BY_PROMPT
    assert len(server.asked) == len(QUESTIONS)


def test_kpod_serve_gives_the_completions_of_the_built_in_generator(tmp_path: Path) -> None:
    inputs = {"student": student(tmp_path / "base", learned()), "questions": questions(tmp_path / "questions")}
    model, tokenizer = models.load(inputs["student"] / "student")
    with serving(serve.StudentServer(model, tokenizer, COT).handle) as url:
        settings = Evaluate(max_new_tokens=90, precision="fp32")
        tables = both(tmp_path, inputs, settings, StudentServer(base_url=url, model="kpod"))
    local, there = (table.to_pylist() for table in tables)
    assert local == there
    assert [row["truncated"] for row in local] == [False, False, False, True, False]


DIGITS = "7" * 10_000
ODD = {
    "right": DIGITS,  # nothing stated: the last number
    "next": f"The answer is {DIGITS}.",
    "nothing": "",
    "endless": "7 " * 5_000 + "The answer is",
    "long": "\x00\ud83d \u202e The answer is \u0667.".encode("utf-8", "replace").decode(),
}


def test_odd_students_are_counted_and_reported_and_never_right(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SAID", ODD)
    folder = questions(tmp_path / "questions", [{"id": n, "question": q, "answer": "77"} for n, q in QUESTIONS.items()])
    inputs = {"student": student(tmp_path / "base", learned()), "questions": folder}
    (tmp_path / "out").mkdir()
    figures = run(inputs, Evaluate(server=StudentServer(base_url=server.url, model="m")), tmp_path / "out")
    rows = schemas.read(tmp_path / "out" / "predictions.parquet", schemas.PREDICTIONS).to_pylist()
    assert [row["correct"] for row in rows] == [False] * 5
    assert (figures["accuracy"], figures["answerless"], figures["truncated"]) == (0.0, 0.2, 0.2)
    assert {row["question_id"]: row["predicted"] for row in rows}["next"] == DIGITS
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(page) < 20_000
    assert not {"\x00", "\u202e"} & set(page)


def test_what_can_pass_is_asked_again_and_what_is_told_is_never_asked_twice(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDENT_KEY", "sk-very-secret")
    settings = StudentServer(
        base_url=server.url, model="m", concurrency=1, api_key_env="STUDENT_KEY", extra_body={"repeat_penalty": 1.0}
    )
    two = {name: prompt(QUESTIONS[name]) for name in ("right", "next")}
    server.failures = [refusal(503, "busy", **{"retry-after": "0"})]
    told = ask(settings, two, 90, tmp_path)
    assert told["right"].text.endswith("the answer is 7.")
    assert len(server.asked) == 3
    assert server.asked[0]["repeat_penalty"] == 1.0
    with (tmp_path / "served.jsonl").open("a") as journal:
        journal.write('\n["endless", " 1 7 7')  # a kill in the middle of a line
    server.failures = [refusal(404, "no model m, says sk-very-secret\nreally")]
    every = {name: prompt(text) for name, text in QUESTIONS.items()}
    with pytest.raises(ModelError, match=r"evaluate\.server: .*no model m") as caught:
        ask(settings, every, 90, tmp_path)
    assert "sk-very-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    before = len(server.asked)
    told = ask(settings, every, 90, tmp_path)
    assert told.keys() == QUESTIONS.keys()
    assert told["endless"].truncated
    again = [BY_PROMPT[body["prompt"]] for body in server.asked[before:]]
    assert not {"right", "next"} & set(again)
    assert ask(settings, every, 90, tmp_path) == told
    assert len(server.asked) == before + len(again)


NOTHING = {
    "error body": reply({"error": {"message": "the model is loading"}}),
    "no choices": reply({"id": "1", "object": "text_completion", "choices": []}),
    "null choices": reply({"id": "1", "choices": None}),
    "null choice": reply({"id": "1", "choices": [None]}),
    "no text": reply({"id": "1", "choices": [{"index": 0, "text": None, "finish_reason": "stop"}]}),
    "a chat": reply({"id": "1", "choices": [{"index": 0, "message": {"content": "7"}, "finish_reason": "stop"}]}),
    "a list": reply([1, 2]),
    "a number": reply(7),
    "null": reply(None),
    "html": HttpResponse(200, b"<html>Sign in</html>", {"content-type": "text/html"}),
    "not json": HttpResponse(200, b'{"choices": [', {"content-type": "application/json"}),
    "empty": HttpResponse(200, b"", {"content-type": "application/json"}),
    "failed": reply({"choices": [{"index": 0, "text": "So 3", "finish_reason": "error", "error": {"code": 502}}]}),
    "aborted": reply({"choices": [{"index": 0, "text": "So 3", "finish_reason": "abort"}]}),
    "blocked": reply({"choices": [{"index": 0, "text": "So 3", "finish_reason": "SAFETY"}]}),
    "too long": refusal(400, "This model's maximum context length is 1024 tokens"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_an_answer_without_a_completion_is_a_counted_row_or_one_clear_line(
    tmp_path: Path, server: Server, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = StudentServer(base_url=server.url, model="m", concurrency=1)
    every = {name: prompt(text) for name, text in QUESTIONS.items()}
    server.failures = [NOTHING[name]]
    told = ask(settings, every, 90, tmp_path / "one")
    assert len(told) == len(every) - 1
    assert "1 questions got no completion" in capsys.readouterr().err
    assert ask(settings, every, 90, tmp_path / "one").keys() == every.keys()  # asked again
    server.failures = [NOTHING[name]] * ALIKE
    with pytest.raises(ModelError, match=r"evaluate\.server: .* gives no completions") as caught:
        ask(settings, every, 90, tmp_path / "all")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_one_line_before_anything_is_asked(tmp_path: Path, server: Server) -> None:
    settings = StudentServer(base_url=server.url, model="m", api_key_env="NO_SUCH_KEY")
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        ask(settings, {"right": prompt(QUESTIONS["right"])}, 9, tmp_path)
    assert server.asked == []
