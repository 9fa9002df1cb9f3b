"""Runs read directly from MLflow's SQLite file, in milliseconds; importing MLflow would take seconds.

The tables are those of the pinned MLflow version; other stores are read through its client.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from kpod.tracking.server import EXPERIMENT, client, database, experiment_id

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

WAIT_SECONDS = 60.0  # for a writer that holds the file
COLUMNS = "run_uuid, name, status, start_time"
OURS = "lifecycle_stage = 'active' AND experiment_id = (SELECT experiment_id FROM experiments WHERE name = ?)"


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
    rows = select(f"SELECT {COLUMNS} FROM runs WHERE run_uuid = ?", run_id)  # noqa: S608
    if rows is not None:
        return next(iter(_with_data(rows)), None)
    from mlflow.exceptions import MlflowException

    try:
        return converted(client().get_run(run_id))
    except MlflowException:
        return None


def runs_of(stages: Sequence[str]) -> list[Run]:
    """The runs whose tag `kpod.stage` is one of `stages`, the newest first; without deleted ones."""
    rows = select(
        f"SELECT {COLUMNS} FROM runs WHERE {OURS} AND run_uuid IN"  # noqa: S608
        f" (SELECT run_uuid FROM tags WHERE key = 'kpod.stage' AND value IN ({_marks(stages)}))"
        " ORDER BY start_time DESC",
        EXPERIMENT,
        *stages,
    )
    if rows is not None:
        return _with_data(rows)
    api = client()
    entities = [
        entity
        for stage in stages
        for entity in api.search_runs([experiment_id(api)], f"tags.`kpod.stage` = '{stage}'", max_results=1000)
    ]
    return sorted(map(converted, entities), key=lambda run: -run.info.start_time)


def newest_run(tags: Mapping[str, str]) -> Run | None:
    """The newest finished run with all these tags, or None."""
    having = " AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)" * len(tags)
    rows = select(
        f"SELECT {COLUMNS} FROM runs WHERE {OURS} AND status = 'FINISHED'{having}"  # noqa: S608
        " ORDER BY start_time DESC LIMIT 1",
        EXPERIMENT,
        *(part for tag in tags.items() for part in tag),
    )
    if rows is not None:
        return next(iter(_with_data(rows)), None)
    api = client()
    query = " and ".join([f"tags.`{k}` = '{v}'" for k, v in tags.items()] + ["attributes.status = 'FINISHED'"])
    runs = api.search_runs([experiment_id(api)], query, max_results=1, order_by=["attributes.start_time DESC"])
    return converted(runs[0]) if runs else None


def inputs_of(run_id: str) -> dict[str, tuple[str, str]]:
    """The inputs that a run logged: name -> (sha256, URI or path); empty if there is no such run."""
    rows = select(
        "SELECT datasets.name, dataset_profile, dataset_source FROM inputs JOIN datasets ON source_id = dataset_uuid"
        " WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id = ?",
        run_id,
    )
    if rows is not None:
        return {name: (digest, source) for name, digest, source in rows}
    from mlflow.exceptions import MlflowException

    try:
        inputs = client().get_run(run_id).inputs
    except MlflowException:
        return {}
    datasets = inputs.dataset_inputs if inputs else []
    return {
        dataset_input.dataset.name: (str(dataset_input.dataset.profile), str(dataset_input.dataset.source))
        for dataset_input in datasets
    }


def artifacts_of(run_id: str) -> Path | None:
    """The folder of a run's artifacts if it is on this machine and the runs are in an SQLite file, else None."""
    rows = select("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run_id)
    parts = urlsplit(rows[0][0]) if rows and rows[0][0] else None
    return Path(unquote(parts.path)) if parts and parts.scheme == "file" and not parts.netloc else None


def select(query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """Rows of a query on MLflow's SQLite file, empty if it does not exist yet; None if the runs are elsewhere."""
    path = database()
    if path is None:
        return None
    if not path.is_file():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", WAIT_SECONDS, uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def converted(entity: "MlflowRun") -> Run:
    """The run of MLflow's client as a `Run`."""
    info, data = entity.info, entity.data
    return Run(
        RunInfo(info.run_id, info.run_name, info.status, info.start_time),
        RunData(dict(data.tags), dict(data.params), dict(data.metrics)),
    )


def _with_data(rows: Sequence[tuple[str, str, str, int]]) -> list[Run]:
    """The runs of these rows (COLUMNS) with their tags, parameters and metrics."""
    ids = [row[0] for row in rows]

    def pairs(value: str, table: str) -> dict[str, dict[str, Any]]:
        by_run: dict[str, dict[str, Any]] = {run_id: {} for run_id in ids}
        query = f"SELECT run_uuid, key, {value} FROM {table} WHERE run_uuid IN ({_marks(ids)})"  # noqa: S608
        for run_id, key, content in select(query, *ids) or ():
            by_run[run_id][key] = content
        return by_run

    tags, params = pairs("value", "tags"), pairs("value", "params")
    metrics = pairs("CASE WHEN is_nan THEN 'nan' ELSE value END", "latest_metrics")
    return [
        Run(
            RunInfo(*row),
            RunData(tags[row[0]], params[row[0]], {key: float(value) for key, value in metrics[row[0]].items()}),
        )
        for row in rows
    ]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
