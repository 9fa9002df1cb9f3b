"""Records of earlier runs: metrics, documents and artifacts."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from kpod.tracking.reading import Run, artifacts_of, converted, get_run
from kpod.tracking.server import client, experiment_id

MOST = 10**9  # no limit: MLflow's own is 100,000


def download(source: str, destination: Path) -> bool:
    """Copy an artifact folder to `destination` (must not exist); False if the store does not have it."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    api = client()
    landing = destination.with_name(destination.name + ".download")
    landing.mkdir(parents=True, exist_ok=True)
    try:
        path = download_artifacts(artifact_uri=source, dst_path=str(landing), tracking_uri=api.tracking_uri)
        os.replace(path, destination)
    except (MlflowException, OSError):
        return False
    finally:
        shutil.rmtree(landing, ignore_errors=True)
    return True


def final_metrics(run_id: str) -> dict[str, float]:
    """The last value of every metric of a run; empty if there is no such run."""
    entity = get_run(run_id)
    return dict(entity.data.metrics) if entity else {}


def read_document(run_id: str, name: str) -> dict[str, Any] | None:
    """The JSON file `name` of a run, or None; MLflow is imported only if it is not on this machine."""
    folder = artifacts_of(run_id)
    if folder is not None and (folder / name).is_file():
        document: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
        return document
    from mlflow.artifacts import load_dict
    from mlflow.exceptions import MlflowException

    client()
    try:
        return load_dict(f"runs:/{run_id}/{name}")
    except (MlflowException, OSError):
        return None


def run_of(uri: str) -> str:
    """The id of the run that an artifact URI `runs:/ID/...` belongs to."""
    return uri.removeprefix("runs:/").partition("/")[0]


def stored_keys() -> set[str]:
    """Keys of all stages whose results MLflow's artifact store holds."""
    return {
        run.data.tags["kpod.cache_key"]
        for run in _all("tags.`kpod.sha256` != '' and attributes.status = 'FINISHED'")
        if "kpod.cache_key" in run.data.tags
    }


def recent_runs(days: float) -> list[Run]:
    """Every run that started in the last `days`."""
    return _all(f"attributes.start_time >= {int((time.time() - days * 86_400) * 1000)}")


def _all(query: str) -> list[Run]:
    import mlflow

    runs = mlflow.search_runs([experiment_id(client())], query, max_results=MOST, output_format="list")
    return [converted(run) for run in runs]
