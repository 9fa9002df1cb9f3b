"""A local chat-completions server with scripted or replayed answers, planned faults and counts.

Routes: POST /v1/chat/completions, POST /v1/completions, GET /v1/models, the files and batches routes, GET /stats.
The `seed` of a request is its sample number. The only state is counts and uploaded batches.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pydantic import TypeAdapter

from kpod.config import ReplayEndpoint, ScriptedEndpoint
from kpod.errors import KpodError
from kpod.teacher.batchroutes import BatchRoutes
from kpod.teacher.faults import Faults
from kpod.teacher.http import LOOPBACK, HttpRequest, HttpResponse, refusal, reply, serve_forever, serving
from kpod.teacher.replay import Replay
from kpod.teacher.scripted import Scripted

MODEL = "kpod-teacher"
GENERATES = {"/v1/chat/completions": "chat", "/v1/completions": "text"}


class Answerer(Protocol):
    """The source of a server's answers."""

    def answer(self, prompt: str, sample: int) -> str:
        """The reply to sample number `sample` of a prompt."""
        ...


def answerer_of(endpoint: ScriptedEndpoint | ReplayEndpoint) -> Answerer:
    """The source of the answers of an endpoint. Raises DataError if its files are unusable."""
    return Scripted(endpoint) if isinstance(endpoint, ScriptedEndpoint) else Replay(endpoint)


class TeacherServer:
    """Answers requests, with planned faults, and counts what a provider would bill."""

    def __init__(self, answerer: Answerer, faults: Faults, api_key: str | None = None) -> None:
        self._answerer, self._faults, self._api_key = answerer, faults, api_key
        self._attempts: Counter[str] = Counter()
        self._billed: set[str] = set()
        self._in_flight = 0
        self._first = self._last = 0.0  # when the first request came and the last answer left
        self._counts: Counter[str] = Counter()
        self._faulted: Counter[str] = Counter()
        self._batches = BatchRoutes(self._work_off, faults.batch_polls)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request, whatever its route."""
        if request.path == "/stats":
            return reply({**self._counts, "span_s": self._last - self._first, "faults": dict(self._faulted)})
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return refusal(401, "Incorrect API key provided.", "invalid_api_key")
        if request.path == "/v1/models":
            return reply({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "kpod"}]})
        if request.method == "POST" and (kind := GENERATES.get(request.path)):
            return await self._generate(request, kind)
        return self._batches.handle(request) or refusal(404, f"unknown path {request.path}")

    async def _generate(self, request: HttpRequest, kind: str) -> HttpResponse:
        self._counts["received"] += 1
        self._first = self._first or time.monotonic()
        self._in_flight += 1
        self._counts["most_in_flight"] = max(self._counts["most_in_flight"], self._in_flight)
        try:
            if self._faults.latency_s:
                await asyncio.sleep(self._faults.latency_s)
            try:
                body = json.loads(request.body)
            except ValueError:
                return refusal(400, "the body is not JSON")
            content = hashlib.sha256(request.body).hexdigest()
            self._attempts[content] += 1
            fault = self._faults.draw(content, self._attempts[content])
            if fault:
                self._faulted[fault] += 1
            if fault == "stall":
                await asyncio.sleep(self._faults.stall_s)
            return self._faulty(fault) or self._finish(body, kind, content, fault)
        finally:
            self._in_flight -= 1
            self._last = time.monotonic()

    def _faulty(self, fault: str | None) -> HttpResponse | None:
        if fault in ("rate_limited", "rate_limited_silently"):
            hint = {"retry-after": f"{self._faults.retry_after_s:g}"} if fault == "rate_limited" else {}
            return refusal(429, "Rate limit reached for requests.", "rate_limit_exceeded", **hint)
        if fault == "server_error":
            return refusal(500, "The server had an error while processing your request.")
        if fault in ("dropped", "stall"):
            return HttpResponse(drop=True)
        if fault == "invalid_json":
            return HttpResponse(200, b'{"choices": [{"message": {"content": oops', {"content-type": "application/json"})
        return None

    def _finish(self, body: dict[str, Any], kind: str, content: str, fault: str | None) -> HttpResponse:
        try:
            payload = self.complete(body, kind, cut=fault == "length")
        except (KeyError, TypeError, ValueError) as error:
            return refusal(400, f"malformed request: {error!r}")
        response = reply(payload)
        if fault == "truncated":
            response.cut = len(response.body) // 2
        else:
            response.sent = lambda: self._bill(content, payload["usage"])
        return response

    def _bill(self, content: str, usage: dict[str, int]) -> None:
        self._counts["answered"] += 1
        self._counts["duplicates"] += content in self._billed
        self._billed.add(content)
        self._counts["prompt_tokens"] += usage["prompt_tokens"]
        self._counts["completion_tokens"] += usage["completion_tokens"]

    def _work_off(self, body: dict[str, Any], url: str) -> HttpResponse | None:
        """The answer to one line of a batch, faults included; stalls and broken connections become a 500."""
        content = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self._counts["received"] += 1
        self._attempts[content] += 1
        if self._faults.expires(content, self._attempts[content]):
            self._faulted["batch_expired"] += 1
            return None
        fault = self._faults.draw(content, self._attempts[content])
        if fault in ("stall", "truncated", "invalid_json", "dropped"):
            fault = "server_error"
        if fault:
            self._faulted[fault] += 1
        response = self._faulty(fault) or self._finish(body, GENERATES.get(url, "chat"), content, fault)
        if response.sent:
            response.sent()
        return response

    def complete(self, body: dict[str, Any], kind: str, cut: bool = False) -> dict[str, Any]:
        """The completion object for a request body; `cut` truncates it in the middle."""
        prompt = body["messages"][-1]["content"] if kind == "chat" else body["prompt"]
        read = "\n".join(m["content"] for m in body["messages"]) if kind == "chat" else prompt
        text = self._answerer.answer(prompt, int(body.get("seed") or 0))
        limit = int(body.get("max_tokens") or body.get("max_completion_tokens") or 10**9)
        words = list(re.finditer(r"\w+|[^\w\s]", text))
        if cut or len(words) > limit:
            words = words[: min(limit, (len(words) + 1) // 2 if cut else limit)]
            text = text[: words[-1].end()] if words else ""
            cut = True
        usage = {"prompt_tokens": len(re.findall(r"\w+|[^\w\s]", read)), "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        content = {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"text": text}
        return {
            "id": "cmpl-" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24],
            "object": "chat.completion" if kind == "chat" else "text_completion",
            "created": 0,
            "model": body.get("model", MODEL),
            "choices": [{"index": 0, **content, "finish_reason": "length" if cut else "stop", "logprobs": None}],
            "usage": usage,
        }


def serve(
    endpoint: ScriptedEndpoint | ReplayEndpoint, port: int = 8000, faults: Faults | None = None, host: str = LOOPBACK
) -> None:
    """Print the base URL and serve until interrupted. Raises ConfigError if the port is taken."""
    serve_forever(TeacherServer(answerer_of(endpoint), faults or Faults()).handle, host, port)


@contextmanager
def running(
    endpoint: ScriptedEndpoint | ReplayEndpoint | Answerer, faults: Faults | None = None, api_key: str | None = None
) -> Iterator[str]:
    """Serve in a thread on a free loopback port inside the block; yields the base URL (".../v1")."""
    answerer = answerer_of(endpoint) if isinstance(endpoint, ScriptedEndpoint | ReplayEndpoint) else endpoint
    with serving(TeacherServer(answerer, faults or Faults(), api_key).handle) as url:
        yield url


def _main(settings: str) -> None:
    """Serve an endpoint, given as JSON, until the standard input closes."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    try:
        serve(TypeAdapter(ScriptedEndpoint | ReplayEndpoint).validate_json(settings), port=0)
    except KpodError as error:
        print(error, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
