"""The Batch API: upload, poll, collect, what fails, what expires, and what a killed run left out."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from teacher_tools import RUN, Sums, execute, interfere, rows, stats, teacher, write

from kpod.config import Price
from kpod.errors import TeacherError
from kpod.teacher import batch as batch_module
from kpod.teacher.ask import Question, RequestBuilder
from kpod.teacher.faults import Faults
from kpod.teacher.http import HttpResponse, refusal
from kpod.teacher.ledger import Ledger
from kpod.teacher.server import TeacherServer, running


@pytest.fixture
def url() -> Iterator[str]:
    with running(Sums()) as base:
        yield base


def batched(url: str, **settings: Any) -> Any:
    return teacher(url, batch=True, batch_poll_s=0.01, **settings)


def entries(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "journal" / "batches.jsonl").read_text().splitlines()]


def test_same_table_as_single_requests(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, found = execute(tmp_path / "a", batched(url, samples=2), rows(20))
    assert metrics["requests_sent"] == 40
    again, _ = execute(tmp_path / "a", teacher(url, samples=2), rows(20))
    assert again["from_journal"] == 40  # one journal for both ways of asking
    monkeypatch.setenv("KPOD_HOME", str(tmp_path / "another"))
    _, single = execute(tmp_path / "b", teacher(url, samples=2), rows(20))
    assert found == single


def test_dropped_samples_go_into_another_batch(tmp_path: Path, kpod_home: Path) -> None:
    def word(total: int, sample: int) -> str:
        value = total + (sample == 0)
        return f"Put together that makes {value}. The answer is {value}."

    with running(Sums(word)) as url:
        _, found = execute(tmp_path, batched(url), rows(3))
    assert [(row["sample"], row["kept"]) for row in found] == [(0, False), (1, True)] * 3
    assert sum("keys" in event for event in entries(kpod_home)) == 2


def test_partial_failures_and_expiry_are_sent_again(tmp_path: Path, kpod_home: Path) -> None:
    faults = Faults(server_error=0.2, batch_expired=0.2, seed=2)
    with running(Sums(), faults) as url:
        metrics, found = execute(tmp_path, batched(url, max_retries=20), rows(60))
        counted = stats(url)
    assert all(row["kept"] for row in found)
    assert set(counted["faults"]) == {"server_error", "batch_expired"}
    assert metrics["retries"] == sum(counted["faults"].values())
    assert (counted["answered"], counted["duplicates"]) == (60, 0)


def test_lines_that_fail_for_good_are_rows(tmp_path: Path) -> None:
    with running(Sums(), Faults(server_error=0.3, seed=1)) as url:
        metrics, found = execute(tmp_path, batched(url, max_retries=0, max_failed=0.9), rows(40))
    failed = [row for row in found if row["drop_reason"] == "failed"]
    assert 0 < len(failed) == metrics["quarantined"] < 40


def dies_while_waiting(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run over 30 questions that ends while its batch is out."""

    def die(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch_module.time, "sleep", die)
        with pytest.raises(KeyboardInterrupt):
            execute(folder, batched(url), rows(30))


def test_a_batch_that_was_out_when_the_run_died_is_collected(
    tmp_path: Path, kpod_home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_while_waiting(tmp_path, url, monkeypatch)
    metrics, found = execute(tmp_path, batched(url), rows(30))
    assert metrics["requests_sent"] == 0
    assert len(found) == stats(url)["received"] == 30
    assert sum("keys" in event for event in entries(kpod_home)) == 1
    assert entries(kpod_home)[-1]["back"]


def test_sigkill_while_a_batch_is_out(tmp_path: Path, kpod_home: Path, url: str) -> None:
    inputs = write(tmp_path / "questions", rows(30))
    (tmp_path / "out").mkdir()
    config = teacher(url, batch=True, batch_poll_s=60)
    arguments = [str(inputs["questions"]), config.model_dump_json(), str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", RUN, *arguments])
    ledger = kpod_home / "journal" / "batches.jsonl"
    while not (ledger.exists() and '"batch"' in ledger.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    metrics, found = execute(tmp_path, batched(url), rows(30))
    assert (metrics["requests_sent"], stats(url)["received"]) == (0, 30)
    assert all(row["kept"] for row in found)


@pytest.mark.parametrize("submitted", [True, False])
def test_a_run_that_died_before_it_knew_the_id(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, submitted: bool
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if submitted:
            patch.setattr(Ledger, "known", die)
        else:
            patch.setattr(OpenAI, "files", property(die))
        with pytest.raises(KeyboardInterrupt):
            execute(tmp_path, batched(url), rows(30))
    metrics, _ = execute(tmp_path, batched(url), rows(30))
    assert metrics["requests_sent"] == (0 if submitted else 30)
    assert stats(url)["received"] == 30
    assert stats(url)["duplicates"] == 0


def test_another_selection_collects_what_it_wants_and_keeps_the_rest(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_while_waiting(tmp_path / "a", url, monkeypatch)
    execute(tmp_path / "b", batched(url), rows(10, first=25))  # five of these are out already
    metrics, _ = execute(tmp_path / "c", batched(url), rows(30))
    assert metrics["from_journal"] == 30
    assert stats(url)["received"] == 35


def test_the_cap_cuts_batches(tmp_path: Path, kpod_home: Path, url: str) -> None:
    settings = {"price": Price(input=1000, output=1000), "max_tokens": 40}
    with pytest.raises(TeacherError, match=r"teacher\.max_cost_usd: .* of 5 US dollars spent"):
        execute(tmp_path, batched(url, max_cost_usd=5, **settings), rows(200))
    counted = stats(url)
    assert 3 < (counted["prompt_tokens"] + counted["completion_tokens"]) / 1000 <= 5
    assert sum("keys" in event for event in entries(kpod_home)) > 1
    execute(tmp_path, batched(url, max_cost_usd=100, **settings), rows(200))
    assert stats(url)["received"] == 200


def test_a_refused_line_is_a_row_with_a_reason(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        return refusal(400, "No such setting.") if "is 3 plus" in body["messages"][-1]["content"] else None

    with monkeypatch.context() as patch:
        interfere(patch, say)
        metrics, found = execute(tmp_path, batched(url), rows(10))
    assert [row["question_id"] for row in found if row["drop_reason"] == "failed"] == ["q0003"]
    assert (metrics["kept"], metrics["quarantined"]) == (9, 1)
    metrics, _ = execute(tmp_path, batched(url), rows(10))
    assert (metrics["from_journal"], metrics["requests_sent"]) == (9, 1)


def test_a_key_that_is_refused_in_a_batch_stops_the_run(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        return refusal(401, "No such key.") if "is 3 plus" in body["messages"][-1]["content"] else None

    interfere(monkeypatch, say)
    with pytest.raises(TeacherError, match=r"401: No such key\."):
        execute(tmp_path, batched(url), rows(10))


def test_a_batch_that_fails_as_a_whole_is_one_line(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TeacherServer.handle

    async def handle(self: TeacherServer, request: Any) -> HttpResponse:
        response = await real(self, request)
        if request.method == "GET" and "/batches/" in request.path:
            batch = json.loads(response.body)
            batch |= {"status": "failed", "errors": {"data": [{"message": "Line 1\nis too long."}]}}
            response.body = json.dumps(batch).encode()
        return response

    monkeypatch.setattr(TeacherServer, "handle", handle)
    with running(Sums()) as other, pytest.raises(TeacherError, match=r"batch-000000 failed \(Line 1 is too long\.\)"):
        execute(tmp_path, batched(other), rows(3))


def test_a_batch_the_provider_forgot_is_sent_again(
    tmp_path: Path, kpod_home: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = rows(1)[0]
    key = RequestBuilder(batched(url)).ask(Question(row["id"], row["question"], row["answer"], None), 0).key
    (kpod_home / "journal").mkdir(parents=True)
    ledger = Ledger(kpod_home / "journal")
    ledger.known(ledger.out(url, [key]), "batch-999")
    metrics, _ = execute(tmp_path, batched(url), rows(2))
    assert metrics["requests_sent"] == 2
    assert "does not know batch-999" in capsys.readouterr().err


def test_a_torn_line_of_the_ledger_harms_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    one = ledger.out("http://host/v1", ["a"])
    with (tmp_path / "batches.jsonl").open("a") as file:
        file.write('{"token": "to')
    ledger.known(one, "batch-1")
    two = ledger.out("http://host/v1", ["b"])
    ledger.out("http://another/v1", ["c"])
    assert [(e.token, e.batch) for e in ledger.open("http://host/v1")] == [(one, "batch-1"), (two, None)]
    ledger.back(one)
    assert [e.keys for e in ledger.open("http://host/v1")] == [("b",)]
