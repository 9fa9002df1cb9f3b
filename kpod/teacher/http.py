"""A small HTTP/1.1 server on asyncio.

Planned faults need what a web framework does not offer: closing a connection without an answer or within a body.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
MAX_BODY = 256 * 1024 * 1024
MAX_HEAD = 64 * 1024


@dataclass(slots=True)
class HttpRequest:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: str = ""


@dataclass(slots=True)
class HttpResponse:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send so many bytes of the body, then close
    drop: bool = False  # close without an answer
    sent: Callable[[], None] | None = None  # called when the whole answer is written to an open connection


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


def reply(payload: Any, status: int = 200, **headers: str) -> HttpResponse:
    """An answer whose body is `payload` as JSON."""
    return HttpResponse(status, json.dumps(payload).encode(), {"content-type": "application/json", **headers})


def refusal(status: int, message: str, code: str | None = None, **headers: str) -> HttpResponse:
    """An error as chat-completions servers send it."""
    return reply({"error": {"message": message, "type": "error", "code": code}}, status, **headers)


class _Connection(asyncio.Protocol):
    """Keep-alive connection; requests on it are answered one after the other."""

    def __init__(self, handler: Handler, alive: "set[_Connection]") -> None:
        self._handler, self._alive = handler, alive
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._alive.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._alive.discard(self)
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        try:
            request = self._parse()
        except ValueError as error:
            self._write(refusal(400, str(error)))
            self.transport.close()
            return
        if request is not None:
            self._task = asyncio.create_task(self._answer(request))

    def _parse(self) -> HttpRequest | None:
        """Remove one whole request from the buffer; None if there is none yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise ValueError("the request's head is too long")
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ", 2)
        length = int(headers.get("content-length", 0))
        if "transfer-encoding" in headers or not 0 <= length <= MAX_BODY:
            raise ValueError("a body needs a Content-Length of at most 256 MB")
        if len(self._buffer) < end + 4 + length:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        path, _, query = path.partition("?")
        return HttpRequest(method, path, headers, body, query)

    async def _answer(self, request: HttpRequest) -> None:
        try:
            response = await self._handler(request)
        except Exception as error:
            response = refusal(400, f"malformed request: {error!r}")
        self._task = None
        self._write(response)
        if not self.transport.is_closing() and self._buffer:
            self._next()

    def _write(self, response: HttpResponse) -> None:
        if response.drop or self.transport.is_closing():
            self.transport.abort()
            return
        headers = {**response.headers, "content-length": str(len(response.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        lead = f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Error')}\r\n{head}\r\n".encode("latin-1")
        self.transport.write(lead + response.body[: response.cut])
        if response.cut is not None:
            self.transport.close()
        elif response.sent is not None:
            response.sent()


class HttpServer:
    """Serves `handler` on a loopback port until closed; use inside a running event loop."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._alive: set[_Connection] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port (a free one if `port` is 0). Raises OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._handler, self._alive), host, port, backlog=1024
        )
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._server.close()
        for connection in list(self._alive):
            connection.transport.abort()
