"""All MLflow calls: one parent run a pipeline, one nested run an executed stage, the registry of students."""

import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpod import alive
from kpod.files import once
from kpod.flat import scrubbed
from kpod.home import home
from kpod.prompt import prompt

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

STUDENT = "kpod-student-"  # registered models are named after the dataset
EXPERIMENT = "kpod"
ADDRESS = "MLFLOW_TRACKING_URI"
ARTIFACTS = "output"  # the folder of a run's artifact store that holds what the stage wrote
MODEL = "model"  # and the one that holds a student as an MLflow model
FLUSH_SECONDS = 5.0  # metrics go out in batches: one by one a server takes about 35 a second


def uri() -> str:
    """MLFLOW_TRACKING_URI, else an SQLite file under KPOD_HOME."""
    return os.environ.get(ADDRESS) or f"sqlite:///{home()}/mlflow/mlflow.db"


def address() -> str:
    """`uri()` as it may be shown: without user and password."""
    return str(scrubbed(uri()))


def client() -> "MlflowClient":
    """A client for `uri()`."""
    import mlflow  # 3 s of imports: only when a run is really tracked

    for talkative in ("alembic", "mlflow.store.db.utils"):  # every table that they make
        logging.getLogger(talkative).setLevel(logging.WARNING)
    asked_for = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(uri())
    if asked_for is None:  # MLflow writes it there itself, and another KPOD_HOME would be taken for this one's store
        os.environ.pop(ADDRESS, None)
    if uri().startswith("sqlite:///"):  # two processes that make the tables at the same time fail
        database = Path(uri().removeprefix("sqlite:///"))
        once(database.with_name(f".{database.name}.made"), lambda: mlflow.MlflowClient().search_experiments())
    return mlflow.MlflowClient()


def experiment_id(client: "MlflowClient") -> str:
    """The id of the experiment `kpod`, made on first use."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        location = (home() / "mlflow" / "artifacts").as_uri() if uri().startswith("sqlite:///") else None
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=location)
        except MlflowException:  # another process made it first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return found.experiment_id


@contextmanager
def run(
    name: str, params: Mapping[str, str], tags: Mapping[str, str], parent: str | None = None
) -> Iterator["TrackedRun"]:
    """Open a run; it ends FINISHED, FAILED on an exception, or KILLED on a cancellation.

    A run whose process was killed, or whose server was away, cannot say so: the next one that is opened here ends it
    as KILLED.
    """
    from mlflow.entities import Param

    api = client()
    experiment = experiment_id(api)
    _bury_dead_runs(api)
    nested = {"mlflow.parentRunId": parent} if parent else {}
    entity = api.create_run(experiment, run_name=name, tags={**tags, **nested})
    tracked = TrackedRun(api, entity.info.run_id)
    everything = [Param(key, value[:6000]) for key, value in params.items()]
    for first in range(0, len(everything), 100):
        api.log_batch(tracked.run_id, params=everything[first : first + 100])
    status = "KILLED"
    with alive.held("mlflow", tracked.run_id):
        try:
            yield tracked
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            tracked.flush()
            api.set_terminated(tracked.run_id, status=status)
            alive.forget("mlflow", tracked.run_id)  # not reached if the server is away: the next run ends this one


def _bury_dead_runs(api: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    for run_id in alive.dead("mlflow"):
        try:
            if api.get_run(run_id).info.status == "RUNNING":
                api.set_terminated(run_id, status="KILLED")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # of another server than this one, or removed
                raise
        alive.forget("mlflow", run_id)


class TrackedRun:
    """An open MLflow run; as an observer it takes a stage's metrics and warnings."""

    def __init__(self, api: "MlflowClient", run_id: str) -> None:
        self.run_id = run_id
        self._api = api
        self._pending: list[Any] = []
        self._flushed = time.monotonic()
        self._warnings: list[str] = []

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._pending += [Metric(k, float(v), now, step) for k, v in values.items() if math.isfinite(v)]
        if len(self._pending) >= 500 or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        for first in range(0, len(self._pending), 1000):
            self._api.log_batch(self.run_id, metrics=self._pending[first : first + 1000])
        self._pending, self._flushed = [], time.monotonic()

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        """Progress is for people who watch, not for the record."""

    def warning(self, message: str) -> None:
        self._warnings.append(message)
        self._api.set_tag(self.run_id, "kpod.warnings", "\n".join(self._warnings)[:4900])

    def tag(self, key: str, value: str) -> None:
        self._api.set_tag(self.run_id, key, value)

    def inputs(self, digests: Mapping[str, tuple[str, str]]) -> None:
        """Log inputs as datasets: name -> (sha256, URI)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(name=name, digest=digest[:36], source_type="kpod", source=source, profile=digest),
                tags=[InputTag("mlflow.data.context", name)],
            )
            for name, (digest, source) in digests.items()
        ]
        if datasets:
            self._api.log_inputs(self.run_id, datasets)

    def document(self, name: str, tree: Mapping[str, Any]) -> None:
        """Store a JSON file beside the run, without passwords in addresses."""
        self._api.log_dict(self.run_id, scrubbed(tree), name)

    def upload(self, folder: Path) -> str:
        """Store a finished folder as the run's artifact and return its URI."""
        self._api.log_artifacts(self.run_id, str(folder), ARTIFACTS)
        return artifact_uri(self.run_id)


def artifact_uri(run_id: str) -> str:
    """Where a run's artifact store holds what its stage wrote."""
    return f"runs:/{run_id}/{ARTIFACTS}"


def download(source: str, destination: Path) -> bool:
    """Copy an artifact folder to `destination` (must not exist); False if the store does not have it."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    api = client()
    landing = destination.with_name(destination.name + ".download")
    landing.mkdir(parents=True, exist_ok=True)
    try:
        found = download_artifacts(artifact_uri=source, dst_path=str(landing), tracking_uri=api.tracking_uri)
        os.replace(found, destination)
    except (MlflowException, OSError):
        return False
    finally:
        shutil.rmtree(landing, ignore_errors=True)
    return True


def finished_run(key: str) -> "Run | None":
    """The newest finished run of the stage with this key, or None."""
    return newest_run({"kpod.cache_key": key})


def get_run(run_id: str) -> "Run | None":
    """The run with this id, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client().get_run(run_id)
    except MlflowException:
        return None


def final_metrics(run_id: str) -> dict[str, float]:
    """The last value of every metric of a run; empty if the run is gone."""
    entity = get_run(run_id)
    return dict(entity.data.metrics) if entity else {}


def read_document(run_id: str, name: str) -> dict[str, Any] | None:
    """The JSON file `name` of a run, or None."""
    from mlflow.artifacts import load_dict
    from mlflow.exceptions import MlflowException

    client()
    try:
        return load_dict(f"runs:/{run_id}/{name}")
    except (MlflowException, OSError):
        return None


def inputs_of(run_id: str) -> dict[str, tuple[str, str]]:
    """The inputs that a stage's run logged: name -> (sha256, URI or path); empty if the run is gone."""
    entity = get_run(run_id)
    found = entity.inputs.dataset_inputs if entity and entity.inputs else []
    return {one.dataset.name: (str(one.dataset.profile), str(one.dataset.source)) for one in found}


def run_of(uri: str) -> str:
    """The id of the run that an artifact URI `runs:/ID/...` belongs to."""
    return uri.removeprefix("runs:/").partition("/")[0]


def newest_run(tags: Mapping[str, str]) -> "Run | None":
    """The newest finished run with all these tags, or None."""
    api = client()
    query = " and ".join([f"tags.`{k}` = '{v}'" for k, v in tags.items()] + ["attributes.status = 'FINISHED'"])
    runs = api.search_runs([experiment_id(api)], query, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def stored_keys() -> set[str]:
    """Keys of all stages whose results MLflow's artifact store holds."""
    return {
        run.data.tags["kpod.cache_key"]
        for run in _all("tags.`kpod.sha256` != '' and attributes.status = 'FINISHED'")
        if "kpod.cache_key" in run.data.tags
    }


def recent_runs(days: float) -> "list[Run]":
    """Every run that started in the last `days`."""
    return _all(f"attributes.start_time >= {int((time.time() - days * 86_400) * 1000)}")


def _all(query: str) -> "list[Run]":
    api = client()
    found: list[Run] = []
    token = None
    while True:
        page = api.search_runs([experiment_id(api)], query, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def log_student(run_id: str, folder: Path) -> str:
    """Store a student's folder with its run as an MLflow model (transformers flavour), once; returns the model's URI.

    The model has the training prompt as its template, a signature (question in, rationale and answer out) and an
    input example, and answers greedily. For an encoder-decoder, for which transformers has no text pipeline, the
    plain folder that the stage stored is returned instead.
    """
    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("is_encoder_decoder"):
        return f"{artifact_uri(run_id)}/{folder.name}"
    api = client()
    if not any(found.path == f"{MODEL}/MLmodel" for found in api.list_artifacts(run_id, MODEL)):
        with tempfile.TemporaryDirectory() as building:
            _save_student(folder, f"{building}/{MODEL}")
            api.log_artifacts(run_id, f"{building}/{MODEL}", MODEL)
    return f"runs:/{run_id}/{MODEL}"


def _save_student(folder: Path, destination: str) -> None:
    import mlflow.transformers
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema
    from transformers import pipeline

    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)  # it misses a model card and a licence
    student = pipeline("text-generation", model=str(folder), device="cpu")
    student.model.name_or_path = "./student"  # no path of this machine, and no name to look up on the hub
    text = Schema([ColSpec(DataType.string)])
    mlflow.transformers.save_model(
        student,
        destination,
        prompt_template=prompt("{prompt}"),
        signature=ModelSignature(inputs=text, outputs=text),
        input_example=["A box holds 3 pens. How many pens are in 4 boxes?"],
        model_config={"max_new_tokens": 160, "do_sample": False, "return_full_text": False},
        # Without the list, MLflow starts the model to find out what it needs, and fails offline.
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")],
    )
    Path(destination, "LICENSE.txt").unlink(missing_ok=True)  # says only that none was found on the hub


def register_student(dataset: str, run_id: str, source: str, tags: Mapping[str, str], challenger: bool) -> str:
    """Register a student as `kpod-student-<dataset>` (once a run) and return its version.

    With `challenger`, that alias moves to it; the alias `champion` is given by the gate alone.
    """
    from mlflow.exceptions import MlflowException

    api, name = client(), f"{STUDENT}{dataset}"
    try:
        api.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [v for v in api.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
    version = known[0] if known else api.create_model_version(name, source, run_id=run_id, tags=dict(tags))
    if challenger:
        api.set_registered_model_alias(name, "challenger", version.version)
    return str(version.version)


def model_versions(name: str) -> "list[ModelVersion]":
    """All versions of a registered model, newest first; empty if there is no such model."""
    found = client().search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: -int(version.version))


def registered_models() -> "list[RegisteredModel]":
    """Every registered student."""
    return [model for model in client().search_registered_models() if model.name.startswith(STUDENT)]


def version_of(name: str, alias_or_version: str) -> "ModelVersion | None":
    """The version with this number or alias, or None."""
    from mlflow.exceptions import MlflowException

    api = client()
    try:
        if alias_or_version.isdigit():
            return api.get_model_version(name, alias_or_version)
        return api.get_model_version_by_alias(name, alias_or_version)
    except MlflowException:
        return None


def tag_version(version: "ModelVersion", tags: Mapping[str, str]) -> None:
    """Put tags on a model version."""
    api = client()
    for key, value in tags.items():
        api.set_model_version_tag(version.name, version.version, key, value)
