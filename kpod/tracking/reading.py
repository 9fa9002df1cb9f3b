"""Runs read straight from MLflow's SQLite file, in milliseconds; importing MLflow for it would take seconds.

Only runs, tags, parameters and last metrics of the pinned MLflow version; other stores are read through its client.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from kpod.tracking.server import EXPERIMENT, client, database, experiment_id

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

WAIT_SECONDS = 60.0  # for a writer that holds the file
COLUMNS = "run_uuid, name, status, start_time"


@dataclass(frozen=True)
class RunInfo:
    """As `mlflow.entities.RunInfo`; `start_time` in milliseconds since 1970."""

    run_id: str
    run_name: str
    status: str
    start_time: int


@dataclass(frozen=True)
class RunData:
    """As `mlflow.entities.RunData`; of each metric the last value."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """One run, with the names that `mlflow.entities.Run` has."""

    info: RunInfo
    data: RunData


def get_run(run_id: str) -> Run | None:
    """The run with this id, or None."""
    path = database()
    if path is not None:
        with _open(path) as connection:
            found = connection.execute(f"SELECT {COLUMNS} FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()  # noqa: S608
            return _run(connection, found) if found else None
    from mlflow.exceptions import MlflowException

    try:
        entity = client().get_run(run_id)
    except MlflowException:
        return None
    return _light(entity)


def artifacts_of(run_id: str) -> Path | None:
    """The folder of a run's artifacts if SQLite keeps the runs and files on this machine keep the artifacts."""
    path = database()
    if path is None:
        return None
    with _open(path) as connection:
        found = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    parts = urlsplit(found[0]) if found and found[0] else None
    return Path(unquote(parts.path)) if parts and parts.scheme == "file" and not parts.netloc else None


def runs_of(stages: Sequence[str]) -> list[Run]:
    """The runs whose tag `kpod.stage` is one of these, the newest first; deleted ones do not count."""
    path = database()
    if path is not None:
        marks = ", ".join("?" * len(stages))
        query = (
            f"SELECT {COLUMNS} FROM runs"  # noqa: S608
            " JOIN tags USING (run_uuid) JOIN experiments USING (experiment_id)"
            f" WHERE tags.key = 'kpod.stage' AND tags.value IN ({marks}) AND experiments.name = ?"
            " AND runs.lifecycle_stage = 'active' ORDER BY start_time DESC"
        ).replace(COLUMNS, "runs.run_uuid, runs.name, runs.status, runs.start_time")
        with _open(path) as connection:
            rows = connection.execute(query, (*stages, EXPERIMENT)).fetchall()
            return [_run(connection, row) for row in rows]
    api = client()
    found = [
        entity
        for stage in stages
        for entity in api.search_runs([experiment_id(api)], f"tags.`kpod.stage` = '{stage}'", max_results=1000)
    ]
    return sorted(map(_light, found), key=lambda run: -run.info.start_time)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        client()  # makes the tables
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", WAIT_SECONDS, uri=True)) as connection:
        yield connection


def _run(connection: sqlite3.Connection, row: tuple[str, str, str, int]) -> Run:
    def pairs(columns: str, table: str) -> list[tuple[Any, ...]]:
        return connection.execute(f"SELECT {columns} FROM {table} WHERE run_uuid = ?", row[:1]).fetchall()  # noqa: S608

    metrics = {
        key: float("nan") if nan else float(value) for key, value, nan in pairs("key, value, is_nan", "latest_metrics")
    }
    tags, params = dict(pairs("key, value", "tags")), dict(pairs("key, value", "params"))
    return Run(RunInfo(*row), RunData(tags, params, metrics))


def _light(entity: "MlflowRun") -> Run:
    info, data = entity.info, entity.data
    return Run(
        RunInfo(info.run_id, info.run_name, info.status, info.start_time),
        RunData(dict(data.tags), dict(data.params), dict(data.metrics)),
    )
