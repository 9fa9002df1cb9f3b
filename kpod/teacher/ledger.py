"""The submitted batches with their requests, recorded so that another process collects them after a kill."""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kpod.store.files import file_lock


@dataclass(frozen=True, slots=True)
class Entry:
    """A submitted batch; `batch` is the provider's id, None if the process died before it knew it."""

    token: str
    url: str
    keys: tuple[str, ...]
    batch: str | None


class Ledger:
    """`batches.jsonl` beside the journal: one event a line (submitted, id known, collected)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "batches.jsonl"

    def submitting(self) -> AbstractContextManager[None]:
        """Hold the lock of submissions: while it is held, no other living process is in the middle of one."""
        return file_lock(self._path.with_name("batches.lock"))

    def out(self, url: str, keys: Sequence[str]) -> str:
        """Record that these requests are about to be submitted; returns the token to send with them."""
        token = uuid.uuid4().hex
        self._append({"token": token, "url": url, "keys": list(keys)})
        return token

    def known(self, token: str, batch: str) -> None:
        """Record the provider's id of a batch."""
        self._append({"token": token, "batch": batch})

    def back(self, token: str) -> None:
        """Record that a batch is collected, or was never submitted."""
        self._append({"token": token, "back": True})

    def open(self, url: str) -> list[Entry]:
        """The submitted batches at the provider `url` that are not collected yet."""
        entries: dict[str, Entry] = {}
        for event in self._events():
            token = str(event.get("token"))
            if "keys" in event and event.get("url") == url:
                entries[token] = Entry(token, url, tuple(event["keys"]), None)
            elif token in entries and event.get("back"):
                del entries[token]
            elif token in entries and "batch" in event:
                entries[token] = replace(entries[token], batch=event["batch"])
        return list(entries.values())

    def _append(self, event: dict[str, object]) -> None:
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # a torn line of a killed process stays alone
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _events(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
