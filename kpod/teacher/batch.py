"""The requests of a plan through the provider's Batch API: upload, poll, collect, retry."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, NotFoundError
from openai.types import Batch

from kpod import observe
from kpod.errors import TeacherError
from kpod.teacher.ask import TeacherRequest
from kpod.teacher.client import blocking_client, received
from kpod.teacher.failure import Failed, Refused, failure, refusal, status_of
from kpod.teacher.key import redact
from kpod.teacher.ledger import Entry, Ledger
from kpod.teacher.live import Live
from kpod.teacher.plan import Job, Plan
from kpod.teacher.reply import Reply

MOST_LINES = 50_000
MOST_BYTES = 100_000_000
OVER = ("completed", "expired", "cancelled", "failed")
KEY = re.compile(r"[0-9a-f]{64}")
Outcome = Reply | Failed | Refused | TeacherError


class BatchRun:
    """One run. Batches that earlier runs or other processes have submitted are collected, not sent again."""

    def __init__(self, plan: Plan, url: str, key: str) -> None:
        self._plan, self._url, self._key = plan, url, key
        self._config, self._journal, self._budget = plan.config, plan.journal, plan.budget
        self._route = plan.asking.route
        self._ledger = Ledger(plan.journal.folder)
        self._pending: dict[str, tuple[Job, TeacherRequest]] = {}
        self._reserved: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._done = 0  # questions finished since the bar last moved
        self.sent = self.retries = 0

    def run(self, jobs: list[Job], bar: observe.Progress) -> None:
        """Complete `jobs`. Raises TeacherError if the run has to stop; the next run collects the submitted batches."""
        self._live = Live(self._plan, bar)
        self._want(jobs)
        with blocking_client(self._url, self._key, self._config.max_retries) as self._openai:
            try:
                while self._pending:
                    looks = [(entry, self._look(entry)) for entry in self._submit()]
                    for entry, batch in looks:
                        if batch and batch.status in OVER:
                            self._collect(entry, batch)
                    if all(batch and batch.status not in OVER for _, batch in looks):
                        time.sleep(self._config.batch_poll_s)
                self._tell()
            except APIStatusError as error:
                reason = refusal(error, self._key)
                raise (
                    reason if isinstance(reason, TeacherError) else TeacherError(f"teacher.batch: {reason}")
                ) from None
            except APIConnectionError as error:
                why = redact(str(error.__cause__ or error), self._key)
                raise TeacherError(
                    f"teacher.batch: connection lost ({why}); run again, sent batches are collected"
                ) from None

    def _want(self, jobs: list[Job]) -> None:
        for job in jobs:
            ask = self._plan.ask(*job)
            self._pending[ask.key] = job, ask

    def _submit(self) -> list[Entry]:
        """Submit the pending requests that the cap allows; returns all batches that hold pending requests."""
        with self._ledger.submitting():
            out = [entry for entry in map(self._adopted, self._ledger.open(self._url)) if entry]
            away = {key for entry in out for key in entry.keys}
            for key in away & self._pending.keys():
                self._reserve(key)
            for lines in self._files([key for key in self._pending if key not in away]):
                out.append(self._send(lines))
        holding = [entry for entry in out if self._pending.keys() & set(entry.keys)]
        if not holding:
            raise TeacherError(f"teacher.max_cost_usd: {self._budget}; the next request could pass the cap")
        return holding

    def _adopted(self, entry: Entry) -> Entry | None:
        """An entry with its batch id, looked up at the provider if a process died before it had noted the id."""
        if entry.batch is not None:
            return entry
        for batch in self._openai.batches.list(limit=100):
            if (batch.metadata or {}).get("kpod") == entry.token:
                self._ledger.known(entry.token, batch.id)
                return replace(entry, batch=batch.id)
        self._ledger.back(entry.token)  # it was never submitted
        return None

    def _reserve(self, key: str) -> None:
        if key not in self._reserved:
            self._reserved.add(key)
            self._budget.reserve(self._pending[key][1])

    def _files(self, keys: list[str]) -> Iterator[dict[str, bytes]]:
        """Lines by key, cut into files of at most MOST_LINES and MOST_BYTES, until the cap is reached."""
        lines: dict[str, bytes] = {}
        size = 0
        for key in keys:
            ask = self._pending[key][1]
            if not self._budget.affords(ask):
                break
            self._reserve(key)
            line = {"custom_id": key, "method": "POST", "url": f"/v1{self._route}", "body": ask.body}
            lines[key] = json.dumps(line, ensure_ascii=False).encode() + b"\n"
            size += len(lines[key])
            if len(lines) == MOST_LINES or size >= MOST_BYTES:
                yield lines
                lines, size = {}, 0
        if lines:
            yield lines

    def _send(self, lines: dict[str, bytes]) -> Entry:
        token = self._ledger.out(self._url, list(lines))
        file = self._openai.files.create(file=("batch.jsonl", b"".join(lines.values())), purpose="batch")
        batch = self._openai.batches.create(
            input_file_id=file.id,
            endpoint=f"/v1{self._route}",  # type: ignore[arg-type]
            completion_window="24h",
            metadata={"kpod": token},
        )
        self._ledger.known(token, batch.id)
        self.sent += len(lines)
        return Entry(token, self._url, tuple(lines), batch.id)

    def _look(self, entry: Entry) -> Batch | None:
        """The current state of a batch; None if the provider does not know it (any more)."""
        try:
            batch = self._openai.batches.retrieve(str(entry.batch))
        except NotFoundError:
            observe.warning(f"teacher.batch: the provider does not know {entry.batch}; its requests are sent again")
            self._settle(entry, {}, "unknown batch")
            return None
        counts = batch.request_counts
        self._tell(batch=batch.status, lines=f"{counts.completed}/{counts.total}" if counts else "")
        return batch

    def _collect(self, entry: Entry, batch: Batch) -> None:
        """Read every line of a finished batch; requests with neither answer nor error are sent again."""
        outcomes: dict[str, Outcome] = {}
        for name in (batch.output_file_id, batch.error_file_id):
            for line in self._lines(name):
                key = str(line.get("custom_id"))
                outcome = outcomes[key] = self._outcome(line, self._pending[key][1].size if key in self._pending else 0)
                if isinstance(outcome, Reply) and KEY.fullmatch(key) and not self._journal.add(key, outcome.record()):
                    outcomes[key] = self._plan.known(key) or outcome
        self._settle(entry, outcomes, "expired" if batch.status == "expired" else "no line in the output")
        stop = next((outcome for outcome in outcomes.values() if isinstance(outcome, TeacherError)), None)
        if batch.status in ("failed", "cancelled"):
            errors = "; ".join(str(error.message) for error in (batch.errors.data or [])) if batch.errors else ""
            why = redact(errors, self._key) or "no reason given"
            stop = TeacherError(f"teacher.batch: {batch.id} {batch.status} ({why}); what is finished is kept")
        if stop:
            raise stop

    def _lines(self, name: str | None) -> Iterator[dict[str, Any]]:
        if name is None:
            return
        # The output may be in another store, to which the server redirects.
        options: Any = {"follow_redirects": True}
        content = self._openai.get(f"/files/{name}/content", cast_to=httpx2.Response, options=options).content
        for line in content.splitlines():
            with suppress(ValueError):
                if isinstance(row := json.loads(line), dict):
                    yield row

    def _outcome(self, line: dict[str, Any], size: int) -> Outcome:
        response, error = (line[name] if isinstance(line.get(name), dict) else {} for name in ("response", "error"))
        status = response.get("status_code")
        try:
            if status == 200:
                return received(response.get("body"), size, self._config.model, self._key)
        except (Failed, Refused, TeacherError) as stop:
            return stop
        if isinstance(status, int):
            return failure(status, response.get("body"), self._key)
        if error.get("code") == "batch_expired":
            return Failed("expired")
        reason = failure(status_of(error), error, self._key)
        return reason if isinstance(reason, Refused) else Failed(str(error.get("code") or "no response"))

    def _settle(self, entry: Entry, outcomes: dict[str, Outcome], otherwise: str) -> None:
        """Finish the requests that have an outcome; those that are retried stay pending."""
        for key in [key for key in entry.keys if key in self._pending]:
            outcome = outcomes.get(key) or Failed(otherwise)
            if key in self._reserved:
                self._reserved.discard(key)
                self._budget.free(self._pending[key][1], lost=False)
            if isinstance(outcome, Failed):
                self._failures[key] += 1
                if self._failures[key] <= self._config.max_retries:
                    self.retries += 1
                    continue
            if not isinstance(outcome, TeacherError):
                self._finish(key, outcome if isinstance(outcome, Reply) else str(outcome))
        self._ledger.back(entry.token)
        if (stop_reason := self._plan.stop_reason()) is not None:
            raise stop_reason

    def _finish(self, key: str, outcome: Reply | str) -> None:
        (index, sample), _ = self._pending.pop(key)
        following, finished = self._plan.finish(index, sample, outcome)
        self._want(following)
        self._done += finished

    def _tell(self, **figures: object) -> None:
        done, self._done = self._done, 0
        self._live.tell(done, always=True, **figures)
