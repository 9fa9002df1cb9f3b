"""One request to one server, and the time to wait before a retry."""

import asyncio
import email.utils
import json
import math
import random
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAioHttpClient,
    DefaultHttpxClient,
    Omit,
    OpenAI,
)

from kpod.teacher.ask import TeacherRequest
from kpod.teacher.failure import Failed, failure, refusal, status_of
from kpod.teacher.key import Address, redact
from kpod.teacher.reply import BadReply, Reply, parse

FIRST_SECONDS, MOST_SECONDS = 0.5, 60.0
# The `openai` client sends facts about this machine with each request, which is private and takes time.
_ABOUT_US = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
HEADERS: dict[str, Any] = {"Accept-Encoding": "gzip, deflate", **{f"X-Stainless-{n}": Omit() for n in _ABOUT_US}}


class _Http(DefaultAioHttpClient):
    """An HTTP client that sends the `openai` client's requests as they are: merging defaults again takes long."""

    _address = httpx2.URL()

    def build_request(  # type: ignore[override]
        self, method: str, url: str, *, headers: Any, content: bytes | None = None, **_: Any
    ) -> httpx2.Request:
        """The request, without the client's defaults."""
        if self._address != url:
            self._address = httpx2.URL(url)
        return httpx2.Request(method, self._address, headers=headers, content=content)


def blocking_client(url: str, key: str, max_retries: int, **http: Any) -> OpenAI:
    """An `openai` client for calls that block, which follows no redirects; `http`: settings of its HTTP client."""
    address = Address.of(url)
    return OpenAI(
        base_url=address.root,
        default_query=address.parameters,
        api_key=key,
        max_retries=max_retries,
        http_client=DefaultHttpxClient(follow_redirects=False, **http),
    )


class Client:
    """Sends requests through the `openai` client. Use as an async context manager."""

    def __init__(self, url: str, key: str, route: str, timeout_s: float, concurrency: int) -> None:
        self._key, self._timeout = key, timeout_s
        address = Address.of(url)
        self._url = address.url_of(route)  # or the client would take `base_url` apart for each request
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        # `send` keeps the time; a POST that is sent on to another address arrives there as a GET
        http = _Http(limits=limits, timeout=None, follow_redirects=False)
        self._openai = AsyncOpenAI(
            base_url=address.root, api_key=key, max_retries=0, timeout=None, http_client=http, default_headers=HEADERS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def send(self, ask: TeacherRequest) -> Reply:
        """Send one request once. Raises Failed (retry), Refused (this request only) or TeacherError (stop the run)."""
        try:
            async with asyncio.timeout(self._timeout):
                # The bare response, not the typed one: it costs half the time, and providers add fields of their own.
                response = await self._openai.post(self._url, cast_to=httpx2.Response, body=ask.body)
            return received(json.loads(response.content), ask.size, ask.body["model"], self._key)
        except APIStatusError as error:
            raise refusal(error, self._key, retry_after(error.response.headers)) from None
        except (APITimeoutError, TimeoutError):
            raise Failed("timeout", lost=True) from None
        except APIConnectionError as error:
            refused = isinstance(error.__cause__, httpx2.ConnectError)
            raise Failed("connection", lost=not refused) from None
        except (ValueError, RecursionError):
            raise Failed("invalid body", lost=True) from None


def received(payload: Any, size: int, model: str, key: str) -> Reply:
    """The reply in the body of a 200; `size` is the prompt's length in bytes.

    Raises Failed, Refused or TeacherError, as `failure` decides, if the body holds an error instead.
    """
    if isinstance(payload, dict) and (error := payload.get("error")):
        raise failure(status_of(error), error, key)
    try:
        return parse(payload, size, model)
    except BadReply as error:
        raise Failed(redact(str(error), key), lost=True) from None


def backoff(tries: int, after: float | None) -> float:
    """Seconds to wait after failure number `tries` (from 1): doubled each time, with jitter, at least `after`."""
    seconds = min(MOST_SECONDS, FIRST_SECONDS * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
    return max(seconds, after * random.uniform(1.0, 1.1)) if after is not None else seconds


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (`retry-after-ms`, or Retry-After in seconds or as a date), or None."""
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    try:
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
    except (ValueError, OverflowError):  # a year that no clock knows
        return None
