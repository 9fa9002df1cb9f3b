"""Content-addressed results of stages: the local copies, which `kpod.tracking.fetch` brings back when they are lost."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from kpod.store.files import publish, sha256_tree, write_text
from kpod.store.home import home


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
    return finished if holds(folder, finished.sha256) else None


def _note(stage: str, key: str) -> Path:
    return home() / "finished" / f"{stage}-{key}.json"


def holds(folder: Path, sha256: str) -> bool:
    """Whether the folder is there and has these bytes."""
    return folder.is_dir() and sha256_tree(folder) == sha256
