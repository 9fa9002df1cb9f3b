"""Removal of local results that no registered model, recent run or running process needs."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpod import tracking
from kpod.errors import ConfigError
from kpod.run.results import ABOVE, references
from kpod.store.files import is_locked
from kpod.store.home import home


@dataclass(frozen=True)
class Removal:
    """A folder or file that can be removed, and the reason."""

    path: Path
    size: int  # bytes
    why: str


def candidates(days: float) -> Iterator[Removal]:
    """Folders that can be removed: local copies of results, and unfinished work of killed processes.

    Never removed: results that a registered model version depends on, however far back; results of pipeline runs of
    the last `days`; results that a running process has locked; the journal, which was paid for; and results that
    MLflow's store does not hold, of which the local copy is the only one. Raises ConfigError if MLflow has no finished
    stage, since it is then unknown what is needed.
    """
    kept = needed(days)
    stored = tracking.stored_keys()
    if not stored and (home() / "artifacts").exists():
        raise ConfigError(
            f"{tracking.address()} has no finished stage, so what is needed is unknown: set MLFLOW_TRACKING_URI"
        )
    for folder in sorted((home() / "artifacts").glob("*/*")):
        if folder.name in stored and folder.name not in kept and not is_locked(_lock(folder.name)):
            yield Removal(folder, size_of(folder), f"no registered model and no run of the last {days:g} days needs it")
    limit = time.time() - days * 86_400
    for folder in sorted((home() / "work").glob("*")):
        if newest(folder) < limit and not is_locked(_lock(folder.name.rpartition("-")[2])):
            yield Removal(folder, size_of(folder), f"unfinished work, untouched for {days:g} days")


def needed(days: float) -> set[str]:
    """Cache keys of all results that registered models or runs of the last `days` depend on, directly or not."""
    models = tracking.registered_models()
    queue = [version.run_id for model in models for version in tracking.model_versions(model)]
    for run in tracking.recent_runs(days):
        if run.data.tags.get("kpod.stage") in ABOVE:
            queue += [ref.run_id for ref in references(run.info.run_id).values()]
        queue.append(run.info.run_id)
    seen: set[str] = set()
    keys: set[str] = set()
    while queue:
        run_id = queue.pop()
        if not run_id or run_id in seen:
            continue
        seen.add(run_id)
        entity = tracking.get_run(run_id)
        if entity is None:
            continue
        keys.add(entity.data.tags.get("kpod.cache_key", ""))
        for _, place in tracking.inputs_of(run_id).values():
            if place.startswith("runs:/"):
                queue.append(tracking.run_of(place))
            else:  # a file of another result, such as a grown dataset or a weighter
                keys |= set(Path(place).parts)
                makers = [
                    tracking.newest_run({"kpod.cache_key": part}) for part in Path(place).parts if len(part) == 64
                ]
                queue += [maker.info.run_id for maker in makers if maker]
    return keys


def remove(removal: Removal) -> None:
    """Delete a folder or file; it is renamed first, so that no reader sees it half deleted."""
    renamed = removal.path.with_name(f".{removal.path.name}.removed")
    os.replace(removal.path, renamed)
    shutil.rmtree(renamed) if renamed.is_dir() else renamed.unlink()


def _lock(key: str) -> Path:
    return home() / "locks" / f"{key}.lock"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def newest(path: Path) -> float:
    """Latest modification time of a folder and everything in it, in seconds since 1970."""
    return max(file.stat().st_mtime for file in [path, *path.rglob("*")])
