"""How fast requests may leave: a bucket a limit, and a pause after repeated refusals."""

import asyncio
import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0
BURST_SECONDS = 1.0  # what may leave at once; a full minute's worth would double the rate in the first minute
ROUNDING = 1e-9


class Bucket:
    """Refills at `per_minute`; whoever takes more than it holds leaves a debt that the next ones wait for."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / WINDOW_SECONDS
        self._most = max(1.0, self._rate * BURST_SECONDS)
        self._level, self._clock = self._most, clock
        self._then = clock()

    def wait(self) -> float:
        """Seconds until something may be taken."""
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._then) * self._rate)
        self._then = now
        missing = min(1.0, self._most) - self._level
        return missing / self._rate if missing > ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`; a negative amount gives back."""
        self._level -= amount


class Limits:
    """Requests and tokens a minute together, and the pause that a provider asks for."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self._requests = Bucket(requests) if requests else None
        self._tokens = Bucket(tokens) if tokens else None
        self._pause_until = 0.0
        self._refusals = 0

    async def leave(self, tokens: int) -> None:
        """Wait until a request of about `tokens` tokens may leave, and count it."""
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
        """Correct the count of a finished request."""
        self._refusals = 0
        if self._tokens:
            self._tokens.take(used - expected)

    def refused(self, seconds: float) -> None:
        """A 429. The third in a row holds everything back for `seconds`: the account is limited, not one request."""
        self._refusals += 1
        if self._refusals >= 3:
            self._pause_until = max(self._pause_until, time.monotonic() + seconds)
