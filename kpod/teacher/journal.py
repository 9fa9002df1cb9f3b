"""An append-only log of finished requests, shared by processes and safe against a kill at any moment.

Folder: `log-N.jsonl` (one line a request; only the last log grows), `part-N.parquet` (a compacted log), `lock`
(flock, held while the log is written) and `claims` (one locked byte for each request in flight, which the kernel
unlocks when its process dies). Only keys and positions are in memory; texts stay on disk.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from kpod import observe
from kpod.errors import TeacherError
from kpod.teacher import parts
from kpod.teacher.parts import Part

SYNC_SECONDS = 2.0  # a power cut may lose what was written since; a killed process loses nothing that was written
COMPACT_BYTES = 64 * 1024 * 1024
CHUNK = 1 << 20
CLAIMS = 1 << 48


class Journal:
    """Finished requests by key. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        self._claims = os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o644)
        self._where: dict[bytes, tuple[int | Part, int]] = {}  # key -> (open log, offset) or (part, row)
        self._opened: list[int] = []
        self._log, self._read, self._number, self._synced = -1, 0, 0, time.monotonic()
        with self._locked():
            self._reload()
        if self._read > COMPACT_BYTES:
            self.compact()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._log)
        for descriptor in (*self._opened, self._lock, self._claims):
            os.close(descriptor)

    def __len__(self) -> int:
        return len(self._where)

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a finished request, also of another process, or None."""
        place = self._where.get(bytes.fromhex(key))
        if place is None:
            if self._compacted():
                with self._locked():
                    self._reload()
            self._catch_up()
            place = self._where.get(bytes.fromhex(key))
        if place is None:
            return None
        source, position = place
        return source.row(position) if isinstance(source, Part) else json.loads(_line(source, position))

    def add(self, key: str, record: dict[str, Any]) -> bool:
        """Append a finished request; False if another process has finished it first, whose record is kept.

        Raises TeacherError if the disk is full.
        """
        line = json.dumps({"key": key, **record}, ensure_ascii=False).encode() + b"\n"
        with self._locked():
            if self._compacted():
                self._reload()
            self._repair()
            if bytes.fromhex(key) in self._where:
                return False
            try:
                whole = os.write(self._log, line) == len(line)
            except OSError:
                whole = False
            if not whole:
                os.ftruncate(self._log, self._read)
                raise TeacherError(f"{self.folder} cannot be written: make room there, then run again")
            self._where[bytes.fromhex(key)] = (self._log, self._read)
            self._read += len(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._log)
            self._synced = time.monotonic()
        return True

    def claim(self, key: str) -> bool:
        """Claim a request that this process is about to send; False if another process holds the claim."""
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(key[:16], 16) % CLAIMS)
        except OSError:
            return False
        return True

    def release(self, key: str) -> None:
        """Release a claim."""
        fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, int(key[:16], 16) % CLAIMS)

    def compact(self) -> None:
        """Convert the current log to a Parquet part and begin a new log. Other processes may go on writing."""
        with self._locked():
            self._reload()
            if self._read:
                records = (
                    json.loads(_line(source, offset)) for source, offset in self._where.values() if source == self._log
                )
                (self.folder / _log(self._number + 1)).touch()
                parts.write(self.folder / _part(self._number), records)
                (self.folder / _log(self._number)).unlink()
            self._reload()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _reload(self) -> None:
        """Rebuild the index; a log whose part exists was compacted by a process that was then killed."""
        compacted = {int(path.stem.split("-")[1]): path for path in self.folder.glob("part-*.parquet")}
        logs = {int(path.stem.split("-")[1]): path for path in self.folder.glob("log-*.jsonl")}
        for number in compacted.keys() & logs.keys():
            logs.pop(number).unlink()
        self._where.clear()
        for number in sorted(compacted):
            part = Part(compacted[number])
            for row, key in enumerate(part.keys()):
                self._where.setdefault(key, (part, row))
        newest = max((*logs, *(number + 1 for number in compacted)), default=1)
        for number in sorted({*logs, newest}):
            self._open(number)

    def _open(self, number: int) -> None:
        self._path = str(self.folder / _log(number))
        self._log = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._opened.append(self._log)
        self._read, self._number = 0, number
        self._repair()

    def _compacted(self) -> bool:
        """Whether another process has compacted the log that this one writes."""
        return not os.path.exists(self._path)

    def _repair(self) -> None:
        """Read new lines, then cut off an incomplete last one: the lock is held, so its writer is dead."""
        self._catch_up()
        if os.fstat(self._log).st_size > self._read:
            os.ftruncate(self._log, self._read)

    def _catch_up(self) -> None:
        """Index the complete lines after the last position read."""
        while os.fstat(self._log).st_size > self._read:
            lines = os.pread(self._log, CHUNK, self._read)
            if b"\n" not in lines:
                lines = _line(self._log, self._read)
            if not lines.endswith(b"\n"):
                lines = lines[: lines.rfind(b"\n") + 1]
            if not lines:
                return
            for line in lines.splitlines(keepends=True):
                if (key := _key(line)) is not None:
                    self._where.setdefault(key, (self._log, self._read))
                else:
                    observe.warning(f"{self.folder / _log(self._number)}: skipped an unreadable line")
                self._read += len(line)


def _log(number: int) -> str:
    return f"log-{number:06d}.jsonl"


def _part(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _key(line: bytes) -> bytes | None:
    """The key of a whole record, None for anything else."""
    with suppress(ValueError, KeyError, TypeError):
        record = json.loads(line)
        key = bytes.fromhex(record["key"])
        return key if len(key) == 32 and set(parts.SCHEMA.names) <= record.keys() else None
    return None


def _line(descriptor: int, position: int) -> bytes:
    """The line that begins at `position`, as far as it is written."""
    size = 1 << 14
    while True:
        data = os.pread(descriptor, size, position)
        if (end := data.find(b"\n")) >= 0:
            return data[: end + 1]
        if len(data) < size:
            return data
        size *= 4
