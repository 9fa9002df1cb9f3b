"""All MLflow calls: one parent run a pipeline, one nested run an executed stage, the registry of students."""

from kpod.tracking.fetching import fetch
from kpod.tracking.reading import Run, get_run, inputs_of, newest_run, runs_of
from kpod.tracking.record import (
    download,
    final_metrics,
    read_document,
    recent_runs,
    run_of,
    stored_keys,
)
from kpod.tracking.runs import TrackedRun, artifact_uri, milliseconds, run
from kpod.tracking.server import address, client, experiment_id, served, server_command, uri
from kpod.tracking.students import describe_version, log_student, logged_student, register_student, tag_version
from kpod.tracking.versions import STUDENT, ModelVersion, model_versions, registered_models, version_of

__all__ = [
    "STUDENT",
    "ModelVersion",
    "Run",
    "TrackedRun",
    "address",
    "artifact_uri",
    "client",
    "describe_version",
    "download",
    "experiment_id",
    "fetch",
    "final_metrics",
    "get_run",
    "inputs_of",
    "log_student",
    "logged_student",
    "milliseconds",
    "model_versions",
    "newest_run",
    "read_document",
    "recent_runs",
    "register_student",
    "registered_models",
    "run",
    "run_of",
    "runs_of",
    "served",
    "server_command",
    "stored_keys",
    "tag_version",
    "uri",
    "version_of",
]  # fmt: skip
