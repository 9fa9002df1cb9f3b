"""Download of a stage's result to this machine."""

import shutil
from pathlib import Path

from kpod.store.artifacts import ArtifactRef, folder_of, holds
from kpod.store.files import file_lock, publish
from kpod.store.home import home
from kpod.tracking.record import download
from kpod.tracking.students import MODEL_FILES


def fetch(ref: ArtifactRef) -> Path | None:
    """The local folder of `ref`, its digest verified, or None if neither copy exists with this digest.

    The local copy is tried first, then MLflow's artifact store, as on another worker.
    """
    local = folder_of(ref.stage, ref.key)
    if holds(local, ref.sha256):
        return local
    incoming = home() / "work" / f"fetch-{ref.stage}-{ref.key}"
    with file_lock(home() / "locks" / f"{incoming.name}.lock"):  # two that miss the same bytes bring them once
        if holds(local, ref.sha256):
            return local
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            if download(ref.uri, incoming) and holds(_stripped(incoming), ref.sha256):
                publish(incoming, local)
                return local
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return None


def _stripped(folder: Path) -> Path:
    """The folder without the files that make a student an MLflow model: they were added after it was hashed."""
    for name in MODEL_FILES if (folder / "MLmodel").is_file() else ():
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return folder
