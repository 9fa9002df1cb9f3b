"""Content-addressed results of stages: a local copy under KPOD_HOME, the lasting one in MLflow's artifact store."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kpod import tracking
from kpod.files import publish, sha256_tree
from kpod.home import home


class ArtifactRef(BaseModel):
    """Points at the folder that a stage wrote: by key (what it was made from) and sha256 (what is in it)."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    run_id: str
    uri: str
    sha256: str


def folder_of(stage: str, key: str) -> Path:
    """Where the finished result of a stage lies on this machine."""
    return home() / "artifacts" / stage / key


def workspace(stage: str, key: str) -> Path:
    """Where a stage works until it is finished; a killed attempt's files are still there for the next one."""
    path = home() / "work" / f"{stage}-{key}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def fetch(ref: ArtifactRef) -> Path | None:
    """The folder of `ref` with its bytes verified, or None if they are gone or do not match anywhere.

    The local copy is tried first, then MLflow's artifact store (as on a worker that has never seen it).
    """
    local = folder_of(ref.stage, ref.key)
    if local.is_dir() and sha256_tree(local) == ref.sha256:
        return local
    incoming = home() / "work" / f"fetch-{ref.stage}-{ref.key}"
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        if tracking.download(ref.uri, incoming) and sha256_tree(incoming) == ref.sha256:
            publish(incoming, local)
            return local
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return None
