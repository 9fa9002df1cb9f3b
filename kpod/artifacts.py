"""Content-addressed results of stages: a local copy under KPOD_HOME, the lasting one in MLflow's artifact store."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from kpod import tracking
from kpod.files import holding, publish, sha256_tree, write_text
from kpod.home import home


class ArtifactRef(BaseModel):
    """Points at the folder that a stage wrote: by key (what it was made from) and sha256 (what is in it)."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    run_id: str
    uri: str
    sha256: str


class Finished(BaseModel):
    """What is known of a published folder before MLflow knows it: a kill between the two loses no work."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    figures: dict[str, float]


def folder_of(stage: str, key: str) -> Path:
    """Where the finished result of a stage lies on this machine."""
    return home() / "artifacts" / stage / key


def workspace(stage: str, key: str) -> Path:
    """Where a stage works until it is finished; a killed attempt's files are still there for the next one."""
    path = home() / "work" / f"{stage}-{key}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def seal(stage: str, key: str, out: Path, figures: dict[str, float]) -> Finished:
    """Note what the finished folder `out` holds, then publish it under its key."""
    finished = Finished(sha256=sha256_tree(out), figures=figures)
    note = _note(stage, key)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, finished.model_dump_json())
    publish(out, folder_of(stage, key))
    return finished


def sealed(stage: str, key: str) -> Finished | None:
    """The note on the published folder of this key, or None if there is no such folder or its bytes do not match."""
    folder = folder_of(stage, key)
    try:
        finished = Finished.model_validate_json(_note(stage, key).read_bytes())
    except (OSError, ValidationError):
        return None
    return finished if _holds(folder, finished.sha256) else None


def _note(stage: str, key: str) -> Path:
    return home() / "finished" / f"{stage}-{key}.json"


def fetch(ref: ArtifactRef) -> Path | None:
    """The folder of `ref` with its bytes verified, or None if they are gone or do not match anywhere.

    The local copy is tried first, then MLflow's artifact store (as on a worker that has never seen it).
    """
    local = folder_of(ref.stage, ref.key)
    if _holds(local, ref.sha256):
        return local
    incoming = home() / "work" / f"fetch-{ref.stage}-{ref.key}"
    with holding(home() / "locks" / f"{incoming.name}.lock"):  # two that miss the same bytes bring them once
        if _holds(local, ref.sha256):
            return local
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            if tracking.download(ref.uri, incoming) and _holds(incoming, ref.sha256):
                publish(incoming, local)
                return local
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return None


def _holds(folder: Path, sha256: str) -> bool:
    """Whether the folder is there and has these bytes."""
    return folder.is_dir() and sha256_tree(folder) == sha256
