"""A small HTTP server on aiohttp, whose answers may break off or not come, as planned faults need it."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kpod.errors import ConfigError

LOOPBACK = "127.0.0.1"
MAX_BODY = 256 * 1024 * 1024


@dataclass(slots=True)
class HttpRequest:
    """One request; names of headers are found whatever their case."""

    method: str
    path: str
    headers: Mapping[str, str]
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


class HttpServer:
    """Serves `handler` on a loopback port until closed; use inside a running event loop."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port (a free one if `port` is 0). Raises OSError if it is taken."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=1024).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = HttpRequest(request.method, request.path, request.headers, await request.read(), request.query_string)
        try:
            response = await self._handler(asked)
        except Exception as error:
            response = refusal(400, f"malformed request: {error!r}")
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        sent.content_length = len(response.body)
        if response.drop and request.transport:
            request.transport.abort()
            return sent
        await sent.prepare(request)
        await sent.write(response.body[: response.cut])
        if response.cut is not None and request.transport:
            request.transport.close()
            return sent
        await sent.write_eof()
        if response.sent is not None:
            response.sent()
        return sent


def serve_forever(handler: Handler, host: str, port: int) -> None:
    """Print the base URL (".../v1") and serve until interrupted. Raises ConfigError if the port is taken."""

    async def forever() -> None:
        try:
            bound = await HttpServer(handler).start(host, port)
        except OSError as error:
            raise ConfigError(f"port {port} on {host} cannot be opened ({error.strerror}): choose another") from error
        print(f"http://{host}:{bound}/v1", flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(forever())


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Serve in a thread on a free loopback port inside the block; yields the base URL (".../v1")."""
    server, loop = HttpServer(handler), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(server.start(LOOPBACK, 0), loop).result()
    try:
        yield f"http://{LOOPBACK}:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
