"""Local copies of stage results, addressed by content key; `kpod.tracking.fetch` restores a missing copy."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from kpod.store.files import publish, sha256_tree, write_text
from kpod.store.home import home


class ArtifactRef(BaseModel):
    """Reference to the folder that a stage wrote: cache key (hash of what went in) and sha256 (hash of its files)."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    run_id: str
    uri: str
    sha256: str


class Finished(BaseModel):
    """Record of a published folder, written before MLflow has it, so that a kill in between loses no work."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    figures: dict[str, float]


def folder_of(stage: str, key: str) -> Path:
    """The folder of a stage's finished result on this machine; it need not exist."""
    return home() / "artifacts" / stage / key


def workspace(stage: str, key: str) -> Path:
    """The working folder of a stage, created if missing; the checkpoints of a killed attempt stay in it."""
    path = home() / "work" / f"{stage}-{key}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def seal(stage: str, key: str, out: Path, figures: dict[str, float]) -> Finished:
    """Record the digest and figures of the finished folder `out`, then move it to `folder_of(stage, key)`."""
    finished = Finished(sha256=sha256_tree(out), figures=figures)
    note = _note(stage, key)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, finished.model_dump_json())
    publish(out, folder_of(stage, key))
    return finished


def sealed(stage: str, key: str) -> Finished | None:
    """The record of a published folder, or None if the folder is missing or its digest differs."""
    folder = folder_of(stage, key)
    try:
        finished = Finished.model_validate_json(_note(stage, key).read_bytes())
    except (OSError, ValidationError):
        return None
    return finished if holds(folder, finished.sha256) else None


def _note(stage: str, key: str) -> Path:
    return home() / "finished" / f"{stage}-{key}.json"


def holds(folder: Path, sha256: str) -> bool:
    """Whether the folder exists and has this digest (`sha256_tree`: every file is read)."""
    return folder.is_dir() and sha256_tree(folder) == sha256
