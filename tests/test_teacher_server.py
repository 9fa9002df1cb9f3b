"""The local teachers: what they say, how they count, and the faults they play."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from openai import OpenAI
from server_tools import until
from teacher_tools import Sums, execute, stats, teacher

from kpod.config import ReplayEndpoint, ScriptedEndpoint, WordProblems
from kpod.errors import ConfigError, DataError
from kpod.questions.wordproblems import generate
from kpod.steps import split
from kpod.teacher.faults import KINDS, Faults
from kpod.teacher.replay import Replay
from kpod.teacher.scripted import FILLER, PHRASES, WORDINGS, Scripted
from kpod.teacher.server import running, serve

PROBLEMS = [
    row
    for family in ("stories", "mixed")
    for row in generate(WordProblems(family=family, train=125, validation=0, test=0, longer=0))
]
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")


def said(teacher: Scripted, problem: dict[str, object], sample: int = 0) -> tuple[str, str]:
    """(rationale, answer)."""
    text = teacher.answer(f"Q: {problem['question']}\nA: Let's think step by step.", sample)
    rationale, _, answer = text.rpartition(" The answer is ")
    return rationale, answer.rstrip(".")


def test_scripted_teacher_is_right_unless_told_to_err() -> None:
    teacher = Scripted(ScriptedEndpoint(wrong=0, filler=0))
    for problem in PROBLEMS:
        rationale, answer = said(teacher, problem)
        assert answer == problem["answer"]
        assert not any(sentence in rationale for sentence in FILLER)


def test_scripted_mistake_is_one_slip_carried_on() -> None:
    teacher = Scripted(ScriptedEndpoint(wrong=1, filler=0))
    for problem in PROBLEMS:
        rationale, answer = said(teacher, problem)
        assert answer != problem["answer"]
        false = [
            match.group()
            for match in EQUATION.finditer(rationale)
            if eval_of(int(match[1]), match[2], int(match[3])) != int(match[4])
        ]
        assert len(false) == 1, rationale
        assert rationale.rstrip(".").split("= ")[-1].split()[0] == answer


def eval_of(a: int, op: str, b: int) -> float:
    return {"+": a + b, "-": a - b, "x": a * b, "/": a / b}[op]


def test_scripted_rates_and_samples() -> None:
    teacher = Scripted(ScriptedEndpoint(wrong=0.3, filler=0.5, seed=3))
    replies = [said(teacher, problem) for problem in PROBLEMS]
    wrong = sum(answer != problem["answer"] for (_, answer), problem in zip(replies, PROBLEMS, strict=True))
    steps = sum(len(EQUATION.findall(rationale)) for rationale, _ in replies)
    filler = sum(rationale.count(sentence) for rationale, _ in replies for sentence in FILLER)
    assert 0.2 < wrong / len(PROBLEMS) < 0.4
    assert 0.4 < filler / steps < 0.6
    assert said(teacher, PROBLEMS[0]) == replies[0]
    assert len({said(teacher, PROBLEMS[0], sample) for sample in range(8)}) == 8
    assert teacher.answer("Q: Who are you?\nA:", 0) == "I cannot work this out."


@pytest.mark.parametrize("wordings", [1, len(WORDINGS)])
def test_scripted_wordings_and_phrases(wordings: int) -> None:
    plain = Scripted(ScriptedEndpoint(wrong=0, filler=0, phrases=0, wordings=wordings))
    chatty = Scripted(ScriptedEndpoint(wrong=0, filler=0, phrases=1, wordings=wordings))
    seen = set()
    for problem in PROBLEMS:
        steps = split(said(plain, problem)[0])
        seen |= {
            re.sub(r"(?!That)\w+ (and \w+ )?(has|have|gets|makes) \d.*", "NAME", step.strip())[:6] for step in steps
        }
        worded = split(said(chatty, problem)[0])
        assert len(worded) == len(steps)
        assert all(step.strip().startswith(PHRASES) for step in worded)
        for step in (*steps, *worded):
            assert len(EQUATION.findall(step)) == 1
    assert len(seen) == wordings, seen


@pytest.fixture
def stored(tmp_path: Path) -> ReplayEndpoint:
    questions, rationales = tmp_path / "q.jsonl", tmp_path / "r.jsonl"
    shown = [
        {"id": "a", "question": "How many legs  has a dog?"},
        {"id": "b", "question": "How many legs has a dog? And two dogs?"},
        {"id": "c", "question": "Pick one.", "choices": {"A": "red", "B": "blue"}},
        {"id": "d", "question": "Pick one.", "choices": {"A": "one", "B": "two"}},
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in shown))
    told = [
        {"id": "a", "sample": 4, "rationale": "Later.", "answer": "4"},
        {"id": "a", "sample": 0, "rationale": "Dogs have four.", "answer": "4"},
        {"id": "b", "sample": 0, "rationale": "Four and four.", "answer": "8"},
        {"id": "c", "sample": 0, "rationale": "Blue.", "answer": "B"},
        {"id": "d", "sample": 0, "rationale": "Two.", "answer": "B"},
        {"id": "unknown", "sample": 0, "rationale": "Nothing.", "answer": "1"},
    ]
    rationales.write_text("".join(json.dumps(row) + "\n" for row in told) + "no json\n")
    return ReplayEndpoint(rationales=rationales, questions=[questions])


def test_replay_finds_the_last_and_longest_known_question(stored: ReplayEndpoint) -> None:
    replay = Replay(stored)
    assert replay.answer("Q: How many legs has a dog?\nA:", 0) == "Dogs have four. The answer is 4."
    assert replay.answer("Q: How many legs has a dog?\nA:", 1) == "Later. The answer is 4."
    assert replay.answer("How many legs has a dog? And two dogs?", 0) == "Four and four. The answer is 8."
    few_shot = "Q: How many legs has a dog? And two dogs?\nA: 8\n\nQ: How many legs has a dog?\nA:"
    assert replay.answer(few_shot, 0).startswith("Dogs")
    assert replay.answer("Pick one. Answer choices: (A) one (B) two", 0).startswith("Two")
    assert "stored" in replay.answer("How many legs has a dog?", 2)
    assert "stored" in replay.answer("Who?", 0)


def test_replay_without_a_usable_row_is_refused(stored: ReplayEndpoint, tmp_path: Path) -> None:
    empty = tmp_path / "none.jsonl"
    empty.write_text("{}\n")
    with pytest.raises(DataError, match="no rationale"):
        Replay(ReplayEndpoint(rationales=empty, questions=stored.questions))


@pytest.fixture
def url() -> Iterator[str]:
    with running(Sums()) as base:
        yield base


def test_protocol_through_the_openai_client(url: str) -> None:
    client = OpenAI(base_url=url, api_key="none")
    assert [model.id for model in client.models.list()] == ["kpod-teacher"]
    asked = [{"role": "user", "content": "How much is 3 plus 4?"}]
    chat = client.chat.completions.create(model="m", messages=asked, seed=0)  # type: ignore[arg-type]
    assert chat.choices[0].message.content.endswith("The answer is 7.")
    assert chat.usage.completion_tokens == 14
    text = client.completions.create(model="m", prompt="How much is 3 plus 4?", max_tokens=3)
    assert (text.choices[0].text, text.choices[0].finish_reason) == ("Both are put", "length")
    client.chat.completions.create(model="m", messages=asked, seed=0)  # type: ignore[arg-type]
    counted = stats(url)
    assert (counted["received"], counted["answered"], counted["duplicates"]) == (3, 3, 1)


def test_bad_requests_are_refused_not_dropped(url: str) -> None:
    assert httpx2.post(f"{url}/chat/completions", content=b"{").status_code == 400
    assert httpx2.post(f"{url}/chat/completions", json={"messages": []}).status_code == 400
    assert httpx2.get(f"{url}/nothing").status_code == 404


def test_a_key_is_demanded() -> None:
    with running(Sums(), api_key="right") as url:
        assert httpx2.get(f"{url}/models").status_code == 401
        assert httpx2.get(f"{url}/models", headers={"Authorization": "Bearer right"}).status_code == 200


def test_a_server_ends_while_a_request_stalls() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "How much is 3 plus 4?"}]})
    with running(Sums(), Faults(stall=1.0)) as url:
        connection = HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/v1/chat/completions", body)
        until(lambda: stats(url)["faults"] == {"stall": 1}, "the stall")
    assert connection.sock.recv(1) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_on_the_wire(kind: str) -> None:
    faults = Faults(**{kind: 1.0}, stall_s=0.01, retry_after_s=7)
    with running(Sums(), faults) as url:
        body = {"model": "m", "messages": [{"role": "user", "content": "How much is 3 plus 4?"}]}
        try:
            response = httpx2.post(f"{url}/chat/completions", json=body)
        except httpx2.RemoteProtocolError:
            assert kind in ("stall", "truncated", "dropped")
        else:
            match kind:
                case "rate_limited" | "rate_limited_silently":
                    assert response.status_code == 429
                    assert response.headers.get("retry-after") == ("7" if kind == "rate_limited" else None)
                case "server_error":
                    assert response.status_code == 500
                case "invalid_json":
                    assert response.status_code == 200
                    with pytest.raises(ValueError, match="Expecting"):
                        response.json()
                case "length":
                    assert response.json()["choices"][0]["finish_reason"] == "length"
        assert stats(url)["faults"] == {kind: 1}
        assert stats(url).get("answered", 0) == (kind == "length")


def test_faults_follow_from_the_seed_and_hold_their_rates() -> None:
    faults = Faults(rate_limited=0.1, dropped=0.2, seed=5)
    drawn = [faults.draw(f"question {i}", 1) for i in range(3000)]
    assert drawn == [faults.draw(f"question {i}", 1) for i in range(3000)]
    assert 0.08 < drawn.count("rate_limited") / 3000 < 0.12
    assert 0.18 < drawn.count("dropped") / 3000 < 0.22
    assert drawn != [faults.draw(f"question {i}", 2) for i in range(3000)]


def test_a_taken_port_is_one_line(url: str) -> None:
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigError, match=f"port {port} .* choose another"):
        serve(ScriptedEndpoint(), port=port)


def test_stored_rationales_are_served_with_planned_faults(tmp_path: Path, stored: ReplayEndpoint) -> None:
    command = ["teacher", "serve", "--replay", str(stored.rationales), "--questions", str(stored.questions[0])]
    process = subprocess.Popen(
        [sys.executable, "-m", "kpod.cli", *command, "--port", "0", "--fault", "server_error=0.5"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        config = teacher(url, samples=2, resamples=0, max_retries=30)
        shown = [("a", "How many legs has a dog?", "4"), ("b", "How many legs has a dog? And two dogs?", "8")]
        questions = [
            {"id": i, "dataset": "d", "split": "train", "question": text, "answer": answer, "choices": None}
            for i, text, answer in shown
        ]
        metrics, found = execute(tmp_path, config, questions)
        counted = stats(url)
    finally:
        process.kill()
        process.wait()
    assert [(row["question_id"], row["sample"], row["rationale"]) for row in found if row["kept"]] == [
        ("a", 0, "Dogs have four."),
        ("a", 1, "Later."),
        ("b", 0, "Four and four."),
    ]
    assert metrics["retries"] == counted["faults"]["server_error"] > 0
