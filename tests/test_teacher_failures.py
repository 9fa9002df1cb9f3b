"""Errors in every provider's shape: which stop the run, which cost a row, which are tried again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from teacher_tools import Sums, execute, interfere, rows, stats, teacher

from kpod.config import OpenAIEndpoint, Teacher
from kpod.errors import ConfigError, TeacherError
from kpod.teacher import client
from kpod.teacher.check import check
from kpod.teacher.client import retry_after
from kpod.teacher.failure import Failed, Refused, failure
from kpod.teacher.http import HttpRequest, HttpResponse, reply
from kpod.teacher.key import Address, base_url
from kpod.teacher.server import TeacherServer, running


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_SECONDS", 0.01)


CONTEXT = "This model's maximum context length is 1024 tokens. However, you requested 1100 tokens."
OF_THE_ROW = [
    (400, {"object": "error", "message": CONTEXT, "type": "BadRequestError", "param": None, "code": 400}),
    (400, {"error": {"message": CONTEXT, "type": "BadRequestError", "param": None, "code": 400}}),
    (400, {"error": {"code": 400, "message": "the request exceeds", "type": "exceed_context_size_error"}}),
    (400, {"error": {"message": CONTEXT, "type": "invalid_request_error", "code": "context_length_exceeded"}}),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}),
    (400, [{"error": {"code": 400, "message": "The input token count exceeds", "status": "INVALID_ARGUMENT"}}]),
    (400, {"error": {"code": "data_inspection_failed", "param": None, "message": "Input may be inappropriate."}}),
    (400, {"error": {"code": "invalid_prompt", "message": "Invalid prompt: it was flagged."}}),
    (400, {"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": None}}),
    (400, {"message": "too many tokens"}),
    (400, {"detail": "Bad request"}),
    (400, "<html><body>Bad Request</body></html>"),
    (400, None),
    (403, {"error": {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"]}}}),
    (413, {"error": {"message": "Request too large", "type": "tokens", "code": "rate_limit_exceeded"}}),
    (413, "Payload Too Large"),
    (422, {"error": "Input validation error: inputs tokens + max_new_tokens must be <= 4096", "error_type": "x"}),
    (422, {"detail": [{"loc": ["body"], "msg": "bad", "type": "value", "input": "the model was not found"}]}),
    (429, {"error": {"message": "Request too large for m on tokens per min", "code": "rate_limit_exceeded"}}),
    (451, {"error": {"message": "unavailable for legal reasons"}}),
    (500, {"error": {"code": 500, "message": "the request exceeds the available context size"}}),
]
OF_THE_RUN = [
    (400, {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}),
    (400, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 400}),
    (400, {"error": {"code": "model_not_found", "message": "no"}}),
    (400, {"error": {"code": "Arrearage", "message": "Access denied."}}),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}),
    (401, {"error": {"message": "Incorrect API key provided"}}),
    (402, {"error": {"message": "Insufficient Balance"}}),
    (403, {"error": {"message": "no right to this model"}}),
    (404, {"object": "error", "message": "The model `m` does not exist.", "code": 404}),
    (404, {"detail": "Not Found"}),
    (405, {"detail": "Method Not Allowed"}),
    (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}),
]
ONCE_MORE = [
    (408, None),
    (429, {"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}),
    (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}),
    (498, "capacity"),
    (500, {"error": {"message": "CUDA out of memory"}}),
    (502, "<html>Bad Gateway</html>"),
    (503, {"error": {"message": "The model is overloaded: content filter not reached"}}),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        *[(*case, Refused) for case in OF_THE_ROW],
        *[(*case, TeacherError) for case in OF_THE_RUN],
        *[(*case, Failed) for case in ONCE_MORE],
    ],
)
def test_whose_fault_an_error_is(status: int, body: Any, expected: type[Exception]) -> None:
    found = failure(status, body, "")
    assert type(found) is expected
    assert "\n" not in str(found)
    assert str(found).startswith(str(status)) or isinstance(found, TeacherError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "type", "detail", "status", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.integers(300, 599), json_values)
def test_any_body_becomes_one_clean_line(status: int, body: Any) -> None:
    found = failure(status, body, "s3cret")
    assert isinstance(found, Failed | Refused | TeacherError)
    assert "\n" not in str(found)
    str(found).encode()


def _answering(monkeypatch: pytest.MonkeyPatch, status: int, body: Any, *numbers: int) -> None:
    """Let the local servers answer the questions of these numbers (all, if none) with an error."""

    def say(_: object, asked: dict[str, Any]) -> HttpResponse | None:
        prompt = asked["messages"][-1]["content"]
        concerned = not numbers or any(f"is {number} plus" in prompt for number in numbers)
        return reply(body, status) if concerned else None

    interfere(monkeypatch, say)


def _reasons(out: Path) -> list[str]:
    return [row["reason"] for row in pq.read_table(out / "quarantine.parquet").to_pylist()]


@pytest.mark.parametrize("batch", [False, True])
def test_rows_that_the_server_refuses_get_a_reason_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    _answering(monkeypatch, *OF_THE_ROW[0], 0, 7)
    with running(Sums()) as url:
        metrics, found = execute(tmp_path, teacher(url, batch=batch, batch_poll_s=0.01), rows(40))
    assert metrics["kept"] == 38
    assert [row["question_id"] for row in found if not row["kept"]] == ["q0000", "q0007"]
    assert _reasons(tmp_path / "out") == [f"400: {CONTEXT}"] * 2


@pytest.mark.parametrize("batch", [False, True])
def test_the_run_stops_where_the_first_rows_all_fail_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    _answering(monkeypatch, 400, {"error": {"message": "Unknown parameter: top_k", "code": "unknown_parameter"}})
    with running(Sums()) as url:
        with pytest.raises(TeacherError, match=r"first 10 requests all failed alike \(400 unknown_parameter: Unknown"):
            execute(tmp_path, teacher(url, batch=batch, batch_poll_s=0.01, concurrency=4), rows(200))
        assert stats(url)["received"] <= (200 if batch else 10 + 4)


def test_it_also_stops_where_too_large_a_share_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _answering(monkeypatch, 400, OF_THE_ROW[0][1], *range(50, 100))
    with running(Sums()) as url:
        config = teacher(url, concurrency=4, max_failed=0.2)
        with pytest.raises(TeacherError, match=r"21 of 100 requests failed for good \(400: This model"):
            execute(tmp_path, config, rows(100))
        assert stats(url)["received"] <= 50 + 21 + 4
        metrics, _ = execute(tmp_path, config.model_copy(update={"max_failed": 0.5}), rows(100))
    assert (metrics["kept"], metrics["quarantined"]) == (50, 50)


def test_rows_that_fail_again_in_a_second_run_do_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _answering(monkeypatch, 400, OF_THE_ROW[0][1], *range(5, 17))
    with running(Sums()) as url:
        for _ in range(2):
            metrics, _ = execute(tmp_path, teacher(url, max_failed=0.2), rows(100))
            assert metrics["quarantined"] == 12


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    "broken",
    [
        {"choices": [{"finish_reason": "error", "error": {"code": 502}, "message": {"content": "Both are"}}]},
        {"choices": [{"finish_reason": "stop", "error": {"message": "lost"}, "message": {"content": "Both are"}}]},
        {"choices": [{"finish_reason": "ERROR", "message": {"content": "Both are"}}]},
        {"error": {"code": 429, "message": "slow down"}},
        {"error": {"message": "upstream"}, "choices": [{"message": {"content": "Both are"}}]},
        {"choices": []},
        {},
    ],
)
def test_an_error_inside_a_200_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any], batch: bool
) -> None:
    asked: list[str] = []

    def say(_: object, body: dict[str, Any]) -> HttpResponse | None:
        asked.append(body["messages"][-1]["content"])
        return reply(broken) if sum("is 1 plus" in prompt for prompt in asked) == 1 and "is 1 p" in asked[-1] else None

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        metrics, found = execute(tmp_path, teacher(url, batch=batch, batch_poll_s=0.01), rows(3))
    assert metrics["retries"] == 1
    assert [row["rationale"] for row in found][1] == "Both are put together. That makes 5."


def test_a_body_that_nests_without_end_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interfere(monkeypatch, lambda *_: HttpResponse(200, b"[" * 200_000, {"content-type": "application/json"}))
    with running(Sums()) as url, pytest.raises(TeacherError, match=r"1 of 1 requests failed for good \(invalid body"):
        execute(tmp_path, teacher(url, max_retries=1), rows(1))


@pytest.mark.parametrize(
    ("given_url", "root", "query", "asked"),
    [
        ("http://h:1/v1", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions/", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/completions", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1?", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1#top", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        (" http://h:1/v1\n", "http://h:1/v1", "", "http://h:1/v1/chat/completions"),
        (
            "https://h/openai/deployments/g/chat/completions?api-version=2024-06-01",
            "https://h/openai/deployments/g",
            "api-version=2024-06-01",
            "https://h/openai/deployments/g/chat/completions?api-version=2024-06-01",
        ),
        ("https://h/v1/?a=b&c=d%20e", "https://h/v1", "a=b&c=d%20e", "https://h/v1/chat/completions?a=b&c=d%20e"),
    ],
)
def test_the_address_with_a_query_or_a_route_at_its_end(given_url: str, root: str, query: str, asked: str) -> None:
    address = Address.of(base_url(OpenAIEndpoint(base_url=given_url)))
    assert (address.root, address.query, address.url_of("/chat/completions")) == (root, query, asked)


@pytest.mark.parametrize("batch", [False, True])
def test_a_query_reaches_the_server_on_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    seen: list[str] = []
    real = TeacherServer.handle

    async def handle(self: TeacherServer, request: HttpRequest) -> HttpResponse:
        seen.append(request.query)
        return await real(self, request)

    monkeypatch.setattr(TeacherServer, "handle", handle)
    with running(Sums()) as url:
        config = teacher(f"{url}/chat/completions?api-version=2024-06-01", batch=batch, batch_poll_s=0.01)
        metrics, _ = execute(tmp_path, config, rows(3))
    assert metrics["kept"] == 3
    assert set(seen) == {"api-version=2024-06-01"}


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that sends every POST elsewhere."""
    real = TeacherServer.handle

    async def handle(self: TeacherServer, request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return HttpResponse(301, b"", {"location": f"/elsewhere{request.path}"})
        return await real(self, request)

    monkeypatch.setattr(TeacherServer, "handle", handle)
    with running(Sums()) as url:
        yield url


@pytest.mark.parametrize("batch", [False, True])
def test_a_server_that_has_moved_is_one_line_with_the_new_address(tmp_path: Path, moved: str, batch: bool) -> None:
    new = moved.removesuffix("/v1") + ("/elsewhere/v1/files" if batch else "/elsewhere/v1")
    with pytest.raises(TeacherError, match=f"moved to {new}: write the new address") as caught:
        execute(tmp_path, teacher(moved, batch=batch, batch_poll_s=0.01), rows(30))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_list_of_models_that_has_moved_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    async def handle(self: TeacherServer, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status, b"", {"location": "https://new.example/api/v1/models"})

    monkeypatch.setattr(TeacherServer, "handle", handle)
    with running(Sums()) as url, pytest.raises(TeacherError, match=r"moved to https://new\.example/api/v1: write"):
        check(Teacher(endpoint=OpenAIEndpoint(base_url=url), model="m"))


def test_an_address_in_the_environment_is_read_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://h/v1/chat/completions?a=b")
    assert base_url(OpenAIEndpoint()) == "https://h/v1?a=b"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://[h/v1")
    with pytest.raises(ConfigError, match="is no address"):
        base_url(OpenAIEndpoint())


@given(st.text(max_size=40))
def test_any_retry_after_is_a_number_or_nothing(text: str) -> None:
    seconds = retry_after({"retry-after": text, "retry-after-ms": text})
    assert seconds is None or seconds >= 0


def test_a_date_that_no_clock_knows_is_no_wait() -> None:
    assert retry_after({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}) is None
