"""Files that are either whole or absent: atomic writes, folder publication and content hashes."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is fsynced and renamed into place.

    A reader sees the old file, no file, or the whole new file, whenever the writer dies.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish(source: Path, destination: Path) -> None:
    """Move the finished folder `source` to `destination`, replacing what stood there.

    Every file is fsynced first, so a folder under its final name is complete even after a power cut. A replaced folder
    is renamed before it is deleted, so no reader sees it half deleted.
    """
    for path in sorted(source.rglob("*")):
        _fsync(path)
    _fsync(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    replaced = source.with_name(f"{source.name}.replaced")
    if destination.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # left by a killed process
        os.replace(destination, replaced)
    os.replace(source, destination)
    _fsync(destination.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Hex sha256 of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(path: Path) -> str:
    """Hex sha256 of a file, or of a folder: over the relative name and the digest of each of its files, sorted."""
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def run_once(mark: Path, make: Callable[[], object]) -> None:
    """Call `make` unless the file `mark` exists, then create `mark`. Concurrent processes wait for the first."""
    if mark.exists():
        return
    with file_lock(mark.with_name(f"{mark.name}.lock")):
        if not mark.exists():
            make()
            mark.touch()


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on a file inside the block; blocks until it is free. The file is created if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a running process holds the flock of a file; False if the file does not exist."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
