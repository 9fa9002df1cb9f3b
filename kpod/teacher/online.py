"""The requests of a plan, many at a time: workers send new requests and the retries that are due."""

import asyncio
import gc
import heapq
import time
from collections import deque

from kpod import observe
from kpod.errors import TeacherError
from kpod.teacher.ask import TeacherRequest
from kpod.teacher.client import Client, backoff
from kpod.teacher.failure import Failed, Refused
from kpod.teacher.limits import Limits
from kpod.teacher.live import Live
from kpod.teacher.plan import Job, Plan
from kpod.teacher.reply import Reply, estimate

GRACE_SECONDS = 10.0  # after a fatal error, for the requests in flight, which are paid already
ELSEWHERE_SECONDS = 0.1  # between two checks whether another process has finished a request
LONG_SECONDS = 60.0


class Online:
    """One run against one server."""

    def __init__(self, plan: Plan, client: Client) -> None:
        self._plan, self._client = plan, client
        self._config, self._journal, self._budget = plan.config, plan.journal, plan.budget
        self._limits = Limits(plan.config.requests_per_minute, plan.config.tokens_per_minute)
        self._fresh: deque[Job] = deque()
        self._later: list[tuple[float, Job, int]] = []  # (due, job, failures so far): a heap
        self._out = 0
        self._changed = asyncio.Event()
        self._fatal: TeacherError | None = None
        self.sent = self.retries = 0

    async def run(self, jobs: list[Job], bar: observe.Progress) -> None:
        """Complete `jobs`. Raises TeacherError if the run has to stop; finished requests are in the journal."""
        self._fresh.extend(jobs)
        self._live = Live(self._plan, bar)
        gc.freeze()  # the collector then skips the objects of the imports, which saves a tenth of the time
        try:
            async with self._client:
                await self._run(len(jobs))
        finally:
            gc.unfreeze()
            self._live.tell(always=True)
        if self._fatal:
            raise self._fatal

    async def _run(self, jobs: int) -> None:
        workers = [asyncio.create_task(self._work()) for _ in range(min(self._config.concurrency, jobs))]
        try:
            waiting = set(workers)
            while waiting and self._fatal is None:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for worker in done:
                    worker.result()
            if waiting:
                await asyncio.wait(waiting, timeout=GRACE_SECONDS)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._fatal is None:
            if (due := self._take()) is not None:
                self._out += 1
                try:
                    await self._try(*due)
                finally:
                    self._out -= 1
                    self._changed.set()
            elif self._out or self._later:
                await self._wait()
            else:
                return
            if self._fatal:
                self._changed.set()

    def _take(self) -> tuple[Job, int] | None:
        if self._later and self._later[0][0] <= time.monotonic():
            _, job, failures = heapq.heappop(self._later)
            return job, failures
        return (self._fresh.popleft(), 0) if self._fresh else None

    async def _wait(self) -> None:
        """Until a retry is due, or something else has happened."""
        self._changed.clear()
        seconds = self._later[0][0] - time.monotonic() if self._later else None
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _try(self, job: Job, failures: int) -> None:
        ask = self._plan.ask(*job)
        if not self._journal.claim(ask.key):
            self._postpone(job, failures, ELSEWHERE_SECONDS)
            return
        try:
            if (known := self._plan.known(ask.key)) is not None:  # another process was quicker
                self._finish(job, known)
            elif self._budget.affords(ask):
                await self._send(job, ask, failures)
            elif self._out > 1:  # what is in flight may turn out cheaper than the worst case
                self._postpone(job, failures, ELSEWHERE_SECONDS)
            else:
                self._stop(TeacherError(f"teacher.max_cost_usd: {self._budget}; the next request could pass the cap"))
        finally:
            self._journal.release(ask.key)

    async def _send(self, job: Job, ask: TeacherRequest, failures: int) -> None:
        expected = estimate(ask.size) + self._config.max_tokens
        self._budget.reserve(ask)
        lost = True  # should this task be cancelled while it waits
        try:
            await self._limits.leave(expected)
            if self._fatal:
                lost = False
                return
            self.sent += 1
            reply = await self._client.send(ask)
            lost = False
        except Failed as failure:
            lost = failure.lost
            self._again(job, failures + 1, failure)
        except Refused as refusal:
            lost = False
            self._finish(job, str(refusal))
        except TeacherError as error:
            lost = False
            self._stop(error)
        else:
            added = self._journal.add(ask.key, reply.record())
            self._limits.settle(expected, reply.prompt_tokens + reply.completion_tokens)
            self._finish(job, reply if added else self._plan.known(ask.key) or reply)
        finally:
            self._budget.free(ask, lost)

    def _again(self, job: Job, failures: int, failure: Failed) -> None:
        seconds = backoff(failures, failure.after)
        if failure.limited:
            self._limits.refused(seconds)
        if failures > self._config.max_retries:
            self._finish(job, failure.reason)
            return
        if seconds > LONG_SECONDS:
            observe.warning(f"the teacher asks to wait {seconds:.0f} s before the next try")
        self.retries += 1
        self._postpone(job, failures, seconds)

    def _postpone(self, job: Job, failures: int, seconds: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, job, failures))

    def _stop(self, error: TeacherError) -> None:
        self._fatal = self._fatal or error

    def _finish(self, job: Job, outcome: Reply | str) -> None:
        following, finished = self._plan.finish(*job, outcome)
        self._fresh.extendleft(reversed(following))
        if (stop_reason := self._plan.stop_reason()) is not None:
            self._stop(stop_reason)
        self._live.tell(finished)
