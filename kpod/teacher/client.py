"""One request to one server, and what its failure means: try again, give the row up, or stop the run."""

import asyncio
import email.utils
import json
import math
import random
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, DefaultAioHttpClient, Omit

from kpod.errors import TeacherError
from kpod.teacher.ask import Ask
from kpod.teacher.key import strike
from kpod.teacher.reply import BadReply, Reply, parse

RETRYABLE = frozenset({408, 409, 425, 429})
ABOUT_THE_ROW = frozenset({"content_filter", "context_length_exceeded", "content_policy_violation"})
OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
FIRST_SECONDS, MOST_SECONDS = 0.5, 60.0
# What the `openai` client tells about this machine is nobody's business, and costs time with each request.
_ABOUT_US = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
HEADERS: dict[str, Any] = {"Accept-Encoding": "gzip, deflate", **{f"X-Stainless-{n}": Omit() for n in _ABOUT_US}}


class Failed(Exception):
    """This try failed, another may not. `lost`: the provider may have done, and billed, the work."""

    def __init__(self, reason: str, after: float | None = None, limited: bool = False, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.limited, self.lost = reason, after, limited, lost


class Refused(Exception):
    """The server will never answer this one request; the others are not concerned."""


class _Http(DefaultAioHttpClient):
    """The `openai` client hands over whole requests; to merge them with defaults again is half the work."""

    _address = httpx2.URL()

    def build_request(  # type: ignore[override]
        self, method: str, url: str, *, headers: Any, content: bytes | None = None, **_: Any
    ) -> httpx2.Request:
        if self._address != url:
            self._address = httpx2.URL(url)
        return httpx2.Request(method, self._address, headers=headers, content=content)


class Client:
    """Sends requests through the `openai` client. Use as an async context manager."""

    def __init__(self, url: str, key: str, route: str, timeout_s: float, concurrency: int) -> None:
        self._key, self._timeout = key, timeout_s
        self._url = url + route  # whole, or the client would take `base_url` apart for each request
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        http = _Http(limits=limits, timeout=None)  # `send` keeps the time
        self._openai = AsyncOpenAI(
            base_url=url, api_key=key, max_retries=0, timeout=None, http_client=http, default_headers=HEADERS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def send(self, ask: Ask) -> Reply:
        """Ask once. Raises Failed, Refused, or TeacherError if no request can succeed."""
        try:
            async with asyncio.timeout(self._timeout):
                # The bare response, not the typed one: it costs half the time, and providers add fields of their own.
                response = await self._openai.post(self._url, cast_to=httpx2.Response, body=ask.body)
            payload = json.loads(response.content)
            if isinstance(payload, dict) and payload.get("error") and not payload.get("choices"):
                raise failure(_status(payload["error"]), payload["error"], {}, self._key)
            return parse(payload, ask.size, ask.body["model"])
        except APIStatusError as error:
            raise failure(error.status_code, error.body, error.response.headers, self._key) from None
        except (APITimeoutError, TimeoutError):
            raise Failed("timeout", lost=True) from None
        except APIConnectionError as error:
            refused = isinstance(error.__cause__, httpx2.ConnectError)
            raise Failed("connection", lost=not refused) from None
        except (ValueError, BadReply):
            raise Failed("invalid body", lost=True) from None


def failure(status: int, body: object, headers: Mapping[str, str], key: str) -> Failed | Refused | TeacherError:
    """The exception for an error answer."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    code = str(inner.get("code") or inner.get("type") or "") if isinstance(inner, dict) else ""
    said = inner.get("message") if isinstance(inner, dict) else inner
    message = strike(f"the teacher answered {status}: {said or 'no reason given'}", key)
    if status == 402 or code in OUT_OF_MONEY:
        return TeacherError(f"{message} (what is finished is kept; pay, then run again)")
    if status in RETRYABLE or status >= 500:
        return Failed(str(status), retry_after(headers), limited=status == 429)
    if code in ABOUT_THE_ROW:
        return Refused(code)
    return TeacherError(f"{message} (what is finished is kept; correct the teacher settings, then run again)")


def backoff(tries: int, after: float | None) -> float:
    """Seconds to wait after the `tries`-th failure (from 1): doubled each time, jittered, never below Retry-After."""
    seconds = min(MOST_SECONDS, FIRST_SECONDS * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
    return max(seconds, after * random.uniform(1.0, 1.1)) if after is not None else seconds


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or Retry-After in seconds or as a date."""
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _status(error: Any) -> int:
    """The status inside an error that came with 200, as some gateways send it."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500
