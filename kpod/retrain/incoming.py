"""Files of new questions in a folder, a bucket or on the hub, copied to KPOD_HOME under the hash of their content."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from kpod.config import QuestionHub
from kpod.errors import ConfigError, DataError
from kpod.store.files import atomic, sha256_file, write_text
from kpod.store.home import home

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_HUB = re.compile(r"hub:(?P<dataset>[a-z0-9]+)(?:@(?P<revision>[\w.-]+))?")


@dataclass(frozen=True)
class Arrived:
    """Local copies of the files at an address, and the reasons for those that are refused."""

    files: tuple[Path, ...]
    refused: tuple[str, ...]


def collect(address: str, max_mb: float) -> Arrived:
    """Copy every file of questions at `address`: a folder, a bucket (s3://..., gs://...) or hub:SET@REVISION.

    Links and files larger than `max_mb` are refused. Raises ConfigError for an address that cannot be read, DataError
    for a hub set that cannot be loaded.
    """
    folder = home() / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    if hub := _HUB.fullmatch(address):
        return Arrived((_from_hub(hub["dataset"], hub["revision"] or "main", folder),), ())
    files, refused = [], []
    for filesystem, info, plain in _listed(address):
        if not plain:
            refused.append(f"{info.base_name} is a link, not a file")
        elif info.size > max_mb * 1e6:
            refused.append(f"{info.base_name} is larger than {max_mb:g} MB")
        else:
            try:
                files.append(_copied(filesystem, info, folder))
            except FileNotFoundError:
                refused.append(f"{info.base_name} is gone again")
    return Arrived(tuple(sorted(files, key=lambda file: file.name)), tuple(refused))


def add(source: Path, folder: Path) -> Path:
    """Copy a file into the watched folder atomically, under a new name if another file has its name.

    Raises DataError if `source` is not a file of questions, ConfigError if the folder cannot be written.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist: correct the name of the file of questions")
    if not source.is_file() or not source.name.endswith(SUFFIXES):
        raise DataError(f"{source}: new questions come as a file {', '.join(SUFFIXES)}")
    digest = sha256_file(source)
    target = folder / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists() and sha256_file(target) != digest:
            target = folder / f"{digest[:8]}-{source.name}"
        with atomic(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
    return target


def _listed(address: str) -> Iterator[tuple[fs.FileSystem, fs.FileInfo, bool]]:
    """Files below the address, and whether each is a plain file."""
    try:
        filesystem, root = fs.FileSystem.from_uri(address if "://" in address else Path(address).absolute().as_uri())
        infos = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"incoming: {address} cannot be listed ({reason}); name a folder or a bucket") from error
    local = isinstance(filesystem, fs.LocalFileSystem)
    for info in sorted(infos, key=lambda info: info.path):
        if info.type == fs.FileType.Directory or info.base_name.startswith("."):
            continue
        if info.base_name.endswith(SUFFIXES):
            inside = Path(info.path).resolve().is_relative_to(Path(root).resolve()) if local else True
            yield filesystem, info, inside and not (local and os.path.islink(info.path))


def _copied(filesystem: fs.FileSystem, info: fs.FileInfo, folder: Path) -> Path:
    """The local copy of a file; a file whose path, size and time are known is not read again."""
    stamp = f"{filesystem.type_name} {info.path} {info.size} {info.mtime_ns}"
    note = folder / f".{hashlib.sha256(stamp.encode()).hexdigest()}"
    if info.mtime_ns and note.exists() and (known := folder / note.read_text(encoding="utf-8")).exists():
        return known
    copy = _read(filesystem, info, folder)
    write_text(note, copy.name)
    return copy


def _read(filesystem: fs.FileSystem, info: fs.FileInfo, folder: Path) -> Path:
    temporary = folder / f".{os.getpid()}.temporary"
    try:
        with filesystem.open_input_stream(info.path, compression=None) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target)
        return _under_hash(temporary, info.base_name, folder)
    finally:
        temporary.unlink(missing_ok=True)


def _from_hub(dataset: str, revision: str, folder: Path) -> Path:
    from pydantic import ValidationError

    from kpod.questions import hub

    try:
        source = QuestionHub.model_validate({"dataset": dataset, "revision": revision, "splits": ["train"]})
    except ValidationError as error:
        raise ConfigError(f"incoming: hub:{dataset}: {error.errors()[0]['msg']}") from error
    temporary = folder / f".{os.getpid()}.temporary"
    try:
        with temporary.open("w", encoding="utf-8") as target:
            for raw in hub.load(source):
                target.write(json.dumps(raw.fields, ensure_ascii=False, default=str) + "\n")
        return _under_hash(temporary, f"{dataset}.jsonl", folder)
    finally:
        temporary.unlink(missing_ok=True)


def _under_hash(file: Path, name: str, folder: Path) -> Path:
    suffix = next(suffix for suffix in SUFFIXES if name.endswith(suffix))
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name.removesuffix(suffix))[:60]
    target = folder / f"{sha256_file(file)[:16]}-{stem}{suffix}"
    os.replace(file, target)
    return target
