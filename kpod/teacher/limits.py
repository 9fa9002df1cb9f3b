"""Rate limits: a token bucket for each, and a pause after repeated refusals."""

import asyncio
import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0
BURST_SECONDS = 1.0  # size of a burst; a full minute's worth would double the rate in the first minute
ROUNDING = 1e-9


class Bucket:
    """A token bucket that refills at `per_minute`; it may be overdrawn, and is then unavailable until refilled."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / WINDOW_SECONDS
        self._most = max(1.0, self._rate * BURST_SECONDS)
        self._level, self._clock = self._most, clock
        self._then = clock()

    def wait(self) -> float:
        """Seconds until `take` is allowed."""
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._then) * self._rate)
        self._then = now
        missing = min(1.0, self._most) - self._level
        return missing / self._rate if missing > ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Take `amount` out; a negative amount puts it back."""
        self._level -= amount


class Limits:
    """Requests and tokens a minute, and the pause that a provider asks for."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self._requests = Bucket(requests) if requests else None
        self._tokens = Bucket(tokens) if tokens else None
        self._pause_until = 0.0
        self._refusals = 0

    async def leave(self, tokens: int) -> None:
        """Wait until a request of about `tokens` tokens may be sent, and count it."""
        while True:
            waits = [bucket.wait() for bucket in (self._requests, self._tokens) if bucket]
            seconds = max((*waits, self._pause_until - time.monotonic()), default=0.0)
            if seconds <= 0:
                break
            await asyncio.sleep(seconds)
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)

    def settle(self, expected: int, used: int) -> None:
        """Replace the expected tokens of a finished request by those that it used."""
        self._refusals = 0
        if self._tokens:
            self._tokens.take(used - expected)

    def refused(self, seconds: float) -> None:
        """Count a 429. The third in a row pauses all requests for `seconds`: the whole account is limited."""
        self._refusals += 1
        if self._refusals >= 3:
            self._pause_until = max(self._pause_until, time.monotonic() + seconds)
