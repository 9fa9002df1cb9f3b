"""MLflow's address and client, and the experiment that all runs belong to."""

import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kpod.config.flat import scrubbed
from kpod.store.files import run_once
from kpod.store.home import home, sqlite_url
from kpod.tracking.views import VIEWS

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "kpod"
TAGS = {"mlflow.experimentKind": "custom_model_development", **VIEWS}  # training runs open, not traces
ADDRESS = "MLFLOW_TRACKING_URI"


def uri() -> str:
    """MLFLOW_TRACKING_URI, else an SQLite file under KPOD_HOME."""
    return os.environ.get(ADDRESS) or sqlite_url(home() / "mlflow" / "mlflow.db", "pysqlite")


def database() -> Path | None:
    """MLflow's SQLite file, or None if the runs are in another store."""
    if address := os.environ.get(ADDRESS):
        return Path(address.removeprefix("sqlite:///").partition("?")[0]) if address.startswith("sqlite:///") else None
    return home() / "mlflow" / "mlflow.db"


def address() -> str:
    """`uri()` without user and password."""
    return str(scrubbed(uri()))


def served() -> bool:
    """Whether the runs are on a server, which then has a UI."""
    return uri().startswith("http")


def pages() -> str:
    """The root of MLflow's UI: the server's, or that of the server which `server_command` starts."""
    return address().rstrip("/") if served() else "http://127.0.0.1:5000"


def server_command() -> str:
    """The command that starts MLflow's UI on the store of the runs; its address stays in the environment variable."""
    store = f'"${ADDRESS}"' if os.environ.get(ADDRESS) else shlex.quote(uri())
    return f"mlflow server --backend-store-uri {store} --host 127.0.0.1 --port 5000"


def client() -> "MlflowClient":
    """A client for `uri()`, whose tables are created if missing. Imports MLflow, which takes seconds."""
    import mlflow  # 3 s of imports: only when a run is really tracked

    for talkative in ("alembic", "mlflow.store.db.utils"):  # every table that they make
        logging.getLogger(talkative).setLevel(logging.WARNING)
    variable = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(uri())
    if variable is None:  # MLflow writes it there itself, and another KPOD_HOME would be taken for this one's store
        os.environ.pop(ADDRESS, None)
    if file := database():  # two processes that make the tables at the same time fail
        run_once(file.with_name(f".{file.name}.made"), lambda: mlflow.MlflowClient().search_experiments())
    return mlflow.MlflowClient()


def experiment_id(client: "MlflowClient") -> str:
    """The id of the experiment `kpod`, created on first use, with the tags TAGS."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        for key in TAGS.keys() - experiment.tags.keys():
            client.set_experiment_tag(experiment.experiment_id, key, TAGS[key])
    if experiment is None:
        location = (home() / "mlflow" / "artifacts").as_uri() if database() else None
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=location, tags=TAGS)
        except MlflowException:  # another process made it first
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    return experiment.experiment_id
