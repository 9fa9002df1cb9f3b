"""The stage against a local server: resuming, failures, limits and money."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configs import scripted
from pydantic import ValidationError
from teacher_tools import RUN, Sums, execute, interfere, rows, stats, table, teacher, write

from kpod.config import ImportEndpoint, OpenAIEndpoint, Price, ScriptedEndpoint, Teacher, WordProblems
from kpod.errors import ConfigError, DataError, KpodError, TeacherError
from kpod.observe import observing
from kpod.questions.wordproblems import generate
from kpod.teacher import client
from kpod.teacher.check import check
from kpod.teacher.client import backoff, retry_after
from kpod.teacher.estimate import estimate
from kpod.teacher.faults import Faults
from kpod.teacher.http import HttpRequest, HttpResponse, refusal
from kpod.teacher.limits import Bucket
from kpod.teacher.server import TeacherServer, running


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_SECONDS", 0.01)


@pytest.fixture
def url() -> Iterator[str]:
    with running(Sums()) as base:
        yield base


def test_rows_of_the_contract_and_the_report(tmp_path: Path, url: str) -> None:
    config = teacher(url, samples=2, price=Price(input="0.15", output="0.60"))
    metrics, found = execute(tmp_path, config, rows(5))
    assert [(row["question_id"], row["sample"]) for row in found] == [
        (f"q{i:04d}", s) for i in range(5) for s in (0, 1)
    ]
    first = found[0]
    assert first["rationale"] == "Both are put together. That makes 3."
    assert (first["answer"], first["correct"], first["kept"], first["drop_reason"]) == ("3", True, True, None)
    usd = (Decimal("0.15") * first["prompt_tokens"] + Decimal("0.60") * first["completion_tokens"]) / 1_000_000
    assert first["cost_usd"] == float(usd)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["questions"], report["rationales"], report["kept"], report["dropped"]) == (5, 10, 10, {})
    assert Decimal(report["cost_usd"]) == sum(Decimal(str(row["cost_usd"])) for row in found)
    assert metrics["requests_sent"] == 10


def test_only_training_questions_are_asked(tmp_path: Path, url: str) -> None:
    questions = rows(4)
    questions[1]["split"] = "test"
    _, found = execute(tmp_path, teacher(url), questions)
    assert [row["question_id"] for row in found] == ["q0000", "q0002", "q0003"]


def test_nothing_finished_is_sent_again(tmp_path: Path, url: str) -> None:
    execute(tmp_path / "a", teacher(url), rows(20))
    execute(tmp_path / "b", teacher(url, samples=2), list(reversed(rows(10, first=5))))
    execute(tmp_path / "c", teacher(url, concurrency=1), rows(25))
    counted = stats(url)
    assert counted["received"] == 20 + 10 + 5
    assert counted["duplicates"] == 0


def test_a_journal_goes_with_its_folder_to_another_machine(
    tmp_path: Path, kpod_home: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    _, found = execute(tmp_path / "a", teacher(url), rows(10))
    shutil.copytree(kpod_home / "journal", tmp_path / "elsewhere" / "journal")
    monkeypatch.setenv("KPOD_HOME", str(tmp_path / "elsewhere"))
    metrics, same = execute(tmp_path / "b", teacher(url, concurrency=2), rows(10))
    assert (metrics["requests_sent"], stats(url)["received"]) == (0, 10)
    assert same == found


def test_dropped_samples_are_asked_again_under_new_numbers(tmp_path: Path) -> None:
    def word(total: int, sample: int) -> str:
        wrong = total % 4 == 1 and sample < 2
        return f"Put together that makes {total + wrong}. The answer is {total + wrong}."

    with running(Sums(word)) as url:
        _, found = execute(tmp_path, teacher(url, resamples=2), rows(4))
        assert stats(url)["received"] == len(found)
    told = [(row["question_id"], row["sample"], row["drop_reason"]) for row in found]
    assert told == [
        ("q0000", 0, None),
        ("q0001", 0, "wrong-answer"),
        ("q0001", 1, "wrong-answer"),
        ("q0001", 2, None),
        ("q0002", 0, None),
        ("q0003", 0, "wrong-answer"),
        ("q0003", 1, "wrong-answer"),
        ("q0003", 2, None),
    ]


def test_one_failing_sample_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        concerned = body["seed"] == 1 and "is 2 plus" in body["messages"][-1]["content"]
        return refusal(400, "Not about sums.", "content_filter") if concerned else None

    interfere(monkeypatch, say)
    metrics, found = execute(tmp_path, teacher(url, samples=3), rows(4))
    dropped = [(row["question_id"], row["sample"], row["drop_reason"]) for row in found if not row["kept"]]
    assert dropped == [("q0002", 1, "failed")]
    assert metrics["quarantined"] == 1
    assert len(found) == 12


def test_every_fault_ends_in_a_row_and_nothing_is_billed_twice(tmp_path: Path) -> None:
    faults = Faults(
        rate_limited=0.05,
        rate_limited_silently=0.05,
        server_error=0.05,
        stall=0.02,
        truncated=0.03,
        invalid_json=0.03,
        dropped=0.03,
        length=0.05,
        retry_after_s=0.02,
        stall_s=40,
    )
    with running(Sums(), faults) as url:
        metrics, found = execute(tmp_path, teacher(url, timeout_s=15, resamples=0, max_retries=20), rows(300))
        counted = stats(url)
    assert len(found) == 300
    assert metrics["retries"] > 30
    assert counted["duplicates"] == 0
    assert counted["answered"] == 300
    assert {row["drop_reason"] for row in found} == {None, "cut-off"}
    assert set(counted["faults"]) == {
        name for name, value in faults if isinstance(value, float) and 0 < value < 0.06
    } - {"retry_after_s"}


def test_failed_requests_are_not_finished_ones(tmp_path: Path) -> None:
    with running(Sums(), Faults(server_error=1.0)) as url:
        with pytest.raises(TeacherError, match=r"6 of 6 requests failed for good \(500"):
            execute(tmp_path, teacher(url, max_retries=1), rows(6))
        assert stats(url)["received"] == 12
    with running(Sums()) as url:
        metrics, _ = execute(tmp_path, teacher(url), rows(6))
        assert metrics["requests_sent"] == 6


def test_a_few_failures_are_rows_with_a_reason(tmp_path: Path) -> None:
    with running(Sums(), Faults(server_error=0.1, seed=1)) as url:
        metrics, found = execute(tmp_path, teacher(url, max_retries=0, max_failed=0.5), rows(50))
    failed = [row for row in found if row["drop_reason"] == "failed"]
    assert 0 < len(failed) == metrics["quarantined"] < 25
    assert all(row["rationale"] == "" and row["answer"] is None for row in failed)
    reasons = {row["reason"] for row in _quarantine(tmp_path / "out")}
    assert reasons == {"500"}


def _quarantine(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "quarantine.parquet").to_pylist()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "invalid_api_key"),
        (402, None),
        (403, None),
        (404, "model_not_found"),
        (429, "insufficient_quota"),
    ],
)
def test_what_no_request_can_survive_stops_at_once_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str | None
) -> None:
    def say(self: TeacherServer, _: object) -> HttpResponse | None:
        return refusal(status, "Words of the provider.", code) if self._counts["received"] > 40 else None

    with running(Sums()) as url, monkeypatch.context() as patch:
        interfere(patch, say)
        with pytest.raises(TeacherError) as caught:
            execute(tmp_path, teacher(url, concurrency=8), rows(500))
        answered = stats(url)["answered"]
        assert stats(url)["received"] <= 40 + 8
    assert f"{status}: Words of the provider." in str(caught.value)
    assert "\n" not in str(caught.value)
    with running(Sums()) as url:
        metrics, _ = execute(tmp_path, teacher(url), rows(500))
        assert metrics["from_journal"] == answered > 30
        assert stats(url)["received"] == 500 - answered


def test_retries_run_while_first_attempts_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        asked.append(body["messages"][-1]["content"])
        return refusal(503, "busy") if sum("is 0 plus" in prompt for prompt in asked) == 1 else None

    interfere(monkeypatch, say)
    with running(Sums(), Faults(latency_s=0.005)) as url:
        execute(tmp_path, teacher(url, concurrency=2), rows(200))
    tries = [i for i, prompt in enumerate(asked) if "is 0 plus" in prompt]
    assert len(tries) == 2
    assert tries[1] < 150


def test_both_rate_limits_hold_at_once(tmp_path: Path, url: str) -> None:
    began = time.monotonic()
    execute(tmp_path / "requests", teacher(url, requests_per_minute=1200, tokens_per_minute=10**9), rows(50))
    assert time.monotonic() - began > (50 - 20 - 1) / 20  # a second's worth may leave at once, the others wait
    began = time.monotonic()
    settings = {"requests_per_minute": 10**9, "tokens_per_minute": 60 * 1500, "max_tokens": 100, "concurrency": 4}
    with running(Sums()) as other:
        execute(tmp_path / "tokens", teacher(other, **settings), rows(60, first=1000))
        used = stats(other)["prompt_tokens"] + stats(other)["completion_tokens"]
    # What is in flight counts as expected, about 150 tokens, until it is back.
    assert time.monotonic() - began > (used - 1500 - 4 * 150) / 1500


def test_retry_after_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    came: list[float] = []

    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        came.append(time.monotonic())
        limited = {"retry-after": "0.4"}
        return refusal(429, "Slow down.", "rate_limit_exceeded", **limited) if len(came) == 1 else None

    interfere(monkeypatch, say)
    metrics, found = execute(tmp_path, teacher(url), rows(1))
    assert (metrics["retries"], found[0]["kept"]) == (1, True)
    assert came[1] - came[0] > 0.39


def test_what_is_sent_and_how_an_answer_may_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    heads: list[dict[str, str]] = []
    real = TeacherServer.handle

    async def packed(self: TeacherServer, request: Any) -> HttpResponse:
        response = await real(self, request)
        if request.method == "POST":
            heads.append(request.headers)
            response.body = gzip.compress(response.body)
            response.headers["content-encoding"] = "gzip"
        return response

    monkeypatch.setattr(TeacherServer, "handle", packed)
    with running(Sums()) as packing:
        _, found = execute(tmp_path, teacher(packing, prompt={"system": "Größe: “kurz”."}), rows(3))
    assert [row["kept"] for row in found] == [True] * 3
    assert not [name for head in heads for name in head if name.startswith("x-stainless-") and "retry" not in name]
    assert {head["content-type"] for head in heads} == {"application/json"}


def test_cap_is_never_passed_and_what_was_paid_stays(tmp_path: Path, url: str) -> None:
    price = Price(input=1000, output=1000)
    settings = {"price": price, "max_tokens": 40, "concurrency": 4}
    with pytest.raises(TeacherError, match=r"teacher\.max_cost_usd: .* of 5 US dollars spent"):
        execute(tmp_path, teacher(url, max_cost_usd=5, **settings), rows(200))
    first = stats(url)
    assert 3 < (first["prompt_tokens"] + first["completion_tokens"]) / 1000 <= 5
    with pytest.raises(TeacherError, match="max_cost_usd"):  # what was paid before counts: nothing more is sent
        execute(tmp_path, teacher(url, max_cost_usd=5, **settings), rows(200))
    assert stats(url)["received"] == first["received"]
    metrics, found = execute(tmp_path, teacher(url, max_cost_usd=100, **settings), rows(200))
    assert stats(url)["received"] == 200
    assert metrics["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in found))


def test_answers_that_were_lost_count_against_the_cap(tmp_path: Path) -> None:
    with running(Sums(), Faults(truncated=1.0)) as url:
        config = teacher(url, price=Price(input=0, output=1000), max_tokens=100, max_cost_usd=1, max_retries=50)
        with pytest.raises(TeacherError, match="may have been billed"):
            execute(tmp_path, config, rows(100))
        assert stats(url)["received"] == 10


def test_cap_without_price_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_cost_usd needs teacher\.price"):
        scripted(max_cost_usd=1)


def test_dry_run_asks_nobody(tmp_path: Path, url: str) -> None:
    config = teacher(url, samples=2, resamples=2, max_tokens=100, price=Price(input=1, output=2))
    questions = write(tmp_path / "questions", rows(10))["questions"] / "questions.parquet"
    before = estimate(questions, config)
    assert (before.requests, before.finished) == (20, 0)
    assert stats(url).get("received", 0) == 0
    execute(tmp_path / "begun", config, rows(4))
    after = estimate(questions, config)
    assert (after.requests, after.finished) == (12, 8)
    assert after.completion_tokens == 12 * 14  # what the answers so far were long
    assert after.expected_usd is not None
    assert after.most_usd is not None
    assert after.expected_usd < before.expected_usd < before.most_usd  # type: ignore[operator]
    assert float(after.most_usd) == pytest.approx(0.6 * float(before.most_usd), rel=0.01)  # type: ignore[arg-type]
    assert "12 requests (8 are in the journal)" in str(after)


def test_sigkill_loses_at_most_what_was_in_flight(tmp_path: Path, kpod_home: Path) -> None:
    inputs = write(tmp_path / "questions", rows(300))
    (tmp_path / "out").mkdir()
    with running(Sums(), Faults(latency_s=0.02)) as url:
        config = teacher(url, concurrency=8)
        arguments = [str(inputs["questions"]), config.model_dump_json(), str(tmp_path / "out")]
        process = subprocess.Popen([sys.executable, "-c", RUN, *arguments], start_new_session=True)
        while stats(url).get("answered", 0) < 100:
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        execute(tmp_path, config, rows(300))
        assert stats(url)["received"] <= 300 + 8
    killed = (tmp_path / "out" / "rationales.parquet").read_bytes()
    with running(Sums()) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPOD_HOME", str(tmp_path / "another"))
        execute(tmp_path / "whole", teacher(url), rows(300))
    assert (tmp_path / "whole" / "out" / "rationales.parquet").read_bytes() == killed


def test_two_processes_ask_each_question_once(tmp_path: Path) -> None:
    inputs = write(tmp_path / "questions", rows(200))
    with running(Sums(), Faults(latency_s=0.02)) as url:
        processes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            arguments = [str(inputs["questions"]), teacher(url, concurrency=4).model_dump_json(), str(tmp_path / name)]
            processes.append(subprocess.Popen([sys.executable, "-c", RUN, *arguments]))
        assert [process.wait() for process in processes] == [0, 0]
        assert stats(url)["received"] == 200
    assert table(tmp_path / "one") == table(tmp_path / "two")


def test_the_key_is_nowhere(
    tmp_path: Path, kpod_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-0123456789-secret"
    monkeypatch.setenv("MY_KEY", secret)
    real = TeacherServer.handle

    async def echoing(self: TeacherServer, request: Any) -> Any:
        if self._counts["received"] > 20:
            return refusal(401, f"Incorrect API key provided: {secret}.\nYou can find your key elsewhere.")
        return await real(self, request)

    monkeypatch.setattr(TeacherServer, "handle", echoing)
    with running(Sums(), Faults(server_error=0.1), api_key=secret) as url:
        config = Teacher(endpoint=OpenAIEndpoint(base_url=url, api_key_env="MY_KEY"), model="m")
        with pytest.raises(TeacherError) as caught:
            execute(tmp_path, config, rows(100))
    monkeypatch.setattr(TeacherServer, "handle", real)
    with running(Sums(), api_key=secret) as url:
        config = Teacher(endpoint=OpenAIEndpoint(base_url=url, api_key_env="MY_KEY"), model="m")
        execute(tmp_path, config, rows(10))
    assert "[key]" in str(caught.value)
    seen = [repr(config), config.model_dump_json(), *capfd.readouterr()]
    error: BaseException | None = caught.value
    while error is not None:
        seen.append(repr(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(seen) > 8
    assert not [text for text in seen if secret in text]


def test_wrong_settings_are_one_line_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(endpoint: OpenAIEndpoint, expected: str) -> None:
        with pytest.raises(KpodError, match=expected) as caught:
            check(Teacher(endpoint=endpoint, model="m"))
        assert "\n" not in str(caught.value)

    refused(OpenAIEndpoint(base_url="http://127.0.0.1:9/v1"), r"teacher\.endpoint\.base_url: .*9/v1 cannot be reached")
    refused(OpenAIEndpoint(base_url="localhost:8000"), r"base_url: 'localhost:8000' is no address")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:secret@host/v1")
    refused(OpenAIEndpoint(), "must not hold a password")
    monkeypatch.delenv("OPENAI_BASE_URL")
    refused(OpenAIEndpoint(base_url="https://api.example.com/v1"), "OPENAI_API_KEY is not set")
    with running(Sums(), api_key="right") as url:
        monkeypatch.setenv("OPENAI_API_KEY", "wrong")
        refused(OpenAIEndpoint(base_url=url), "refuses the key")
        with pytest.raises(TeacherError, match="refuses the key"):
            execute(tmp_path, Teacher(endpoint=OpenAIEndpoint(base_url=url), model="m"), rows(3))
        assert stats(url).get("received", 0) == 0
    check(scripted())


def test_none_kept_is_an_error(tmp_path: Path) -> None:
    brain = Sums(lambda total, _: f"I say {total + 1}. The answer is {total + 1}.")
    with running(brain) as url, pytest.raises(DataError, match=r"none of 9 is kept \{'dropped/wrong-answer': 9\}"):
        execute(tmp_path, teacher(url), rows(3))


def test_the_scripted_teacher_is_started_for_the_stage(tmp_path: Path) -> None:
    problems = generate(WordProblems(train=30, validation=0, test=0, longer=0))
    metrics, _ = execute(tmp_path, Teacher(endpoint=ScriptedEndpoint(wrong=0.2)), problems)
    assert metrics["questions"] == 30
    assert metrics["kept"] >= 28
    again, _ = execute(tmp_path, Teacher(endpoint=ScriptedEndpoint(wrong=0.2)), problems)
    assert again["requests_sent"] == 0
    other, _ = execute(tmp_path, Teacher(endpoint=ScriptedEndpoint(wrong=0.2, seed=1)), problems)
    assert other["from_journal"] == 0  # another teacher, although model and questions are the same


def test_import_instead_of_asking(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    told = [
        {"question_id": "q0001", "sample": 3, "rationale": "One and four make 5.", "answer": "5", "teacher": "old"},
        {"id": "q0000", "rationale": "None and three make 3. The answer is 3."},
        {"id": "q0000", "rationale": "It is 4.", "answer": 4},
        {"id": "elsewhere", "rationale": "Nothing.", "answer": "1"},
        {"id": "q0001", "sample": 3, "rationale": "Again 5.", "answer": "5"},
        {"id": "q0001", "answer": "5"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in told) + "no json\n")
    metrics, found = execute(tmp_path, Teacher(endpoint=ImportEndpoint(rationales=[file])), rows(2))
    assert [(r["question_id"], r["sample"], r["rationale"], r["drop_reason"]) for r in found] == [
        ("q0000", 0, "None and three make 3.", None),
        ("q0000", 1, "It is 4.", "wrong-answer"),
        ("q0001", 3, "One and four make 5.", None),
    ]
    assert found[2]["model"] == "old"
    assert metrics["quarantined"] == 4
    assert {row["row"] for row in _quarantine(tmp_path / "out")} == {"4", "5", "6", "7"}
    columns = {name: [row.get(name) for row in told[:3]] for name in told[0] | told[1] if name != "answer"}
    columns["answer"] = [row.get("answer") and str(row["answer"]) for row in told[:3]]
    pq.write_table(pa.table(columns), tmp_path / "old.parquet")  # absent fields are null there
    _, again = execute(tmp_path, Teacher(endpoint=ImportEndpoint(rationales=[tmp_path / "old.parquet"])), rows(2))
    assert again == found


def test_progress_reaches_observers(tmp_path: Path, url: str) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.seen: list[tuple[float, float]] = []

        def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
            self.seen.append((done, total))

        def metrics(self, values: Any, step: int) -> None:
            self.figures, self.step = values, step

        def warning(self, message: str) -> None: ...

    watcher = Watcher()
    execute(tmp_path, teacher(url), rows(5))
    with observing(watcher):
        execute(tmp_path, teacher(url, price=Price(output=1)), rows(8))
    assert watcher.seen[-1] == (8, 8)
    counted = stats(url)
    assert (watcher.figures["requests"], watcher.figures["failed"], watcher.step) == (8, 0, 8)
    assert watcher.figures["tokens"] == counted["prompt_tokens"] + counted["completion_tokens"]
    assert watcher.figures["usd"] == pytest.approx(counted["completion_tokens"] / 1e6)
    assert watcher.figures["requests_per_s"] > 0
    assert all(done > 5 for done, _ in watcher.seen)  # five were done before


def test_backoff_grows_jitters_and_honours_the_server() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "FIRST_SECONDS", 1.0)
        for tries in range(1, 12):
            waits = {backoff(tries, None) for _ in range(50)}
            most = min(60.0, 2.0 ** (tries - 1))
            assert most / 2 <= min(waits) < max(waits) <= most
        assert min(backoff(1, 30.0) for _ in range(50)) >= 30


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_no_minute_sees_more_than_its_limit() -> None:
    now, left = 0.0, list[float]()
    bucket = Bucket(600, lambda: now)
    while now < 200:
        if (wait := bucket.wait()) > 0:
            now += wait
        else:
            bucket.take(1)
            left.append(now)
    for start in range(140):
        assert 590 <= sum(start <= moment < start + 60 for moment in left) <= 611


def test_tokens_are_paid_back_and_debts_waited_for() -> None:
    now = 0.0
    bucket = Bucket(60_000, lambda: now)
    bucket.take(3_000)
    assert bucket.wait() == pytest.approx(2.0, abs=0.01)
    bucket.take(-1_500)
    assert bucket.wait() == pytest.approx(0.5, abs=0.01)


def test_unusable_address_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        check(Teacher(endpoint=OpenAIEndpoint(base_url="ftp://host/v1"), model="m"))


@pytest.mark.parametrize("settings", [{"base_url": "https://me:s3cretword@host/v1"}, {"api_key_env": "sk-s3cretword"}])
def test_a_secret_in_the_wrong_setting_is_refused_and_not_repeated(settings: dict[str, str]) -> None:
    """Prefect records settings before a stage runs."""
    with pytest.raises(ValidationError, match=r"password|variable") as caught:
        OpenAIEndpoint.model_validate(settings)
    assert "s3cretword" not in str(caught.value)


def test_a_key_without_a_right_to_the_list_of_models_may_still_ask(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TeacherServer.handle

    async def handle(self: TeacherServer, request: HttpRequest) -> HttpResponse:
        return refusal(403, "missing scope") if request.path == "/v1/models" else await real(self, request)

    monkeypatch.setattr(TeacherServer, "handle", handle)
    metrics, _ = execute(tmp_path, teacher(url), rows(2))
    assert metrics["kept"] == 2


class Chatty:
    """Never says the same twice."""

    def __init__(self) -> None:
        self._said = 0

    def answer(self, prompt: str, sample: int) -> str:
        self._said += 1
        return "Both are put together. " * self._said + "That makes 3. The answer is 3."


@pytest.mark.parametrize("batch", [False, True])
def test_questions_of_one_text_are_asked_once(tmp_path: Path, batch: bool) -> None:
    asked = [{**rows(1)[0], "id": name} for name in ("a", "b", "c")] + rows(1, first=1)
    with running(Chatty(), Faults(latency_s=0.05)) as base:
        config = teacher(base, samples=2, resamples=1, batch=batch, batch_poll_s=0.05)
        metrics, found = execute(tmp_path, config, asked)
        assert stats(base)["duplicates"] == 0
        # 2 for the text, and 3 for q0001, whose sum is another
        assert (metrics["requests_sent"], metrics["questions"], metrics["kept"]) == (5, 4, 6)
        said = {(row["question_id"], row["sample"]): row["rationale"] for row in found}
        for sample in range(2):
            assert said["a", sample] == said["b", sample] == said["c", sample]
            assert said["a", sample].endswith("That makes 3.")
        again, same = execute(tmp_path, config, asked)
    assert again["requests_sent"] == 0
    assert same == found
