"""Open runs: their parameters, metrics, warnings, inputs and artifacts."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpod.config.flat import scrubbed
from kpod.observe import Observer
from kpod.store import liveness
from kpod.text.hygiene import well_formed
from kpod.tracking import views
from kpod.tracking.names import allowed, batches
from kpod.tracking.server import client, experiment_id, pages

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = "output"  # the folder of a run's artifact store that holds what the stage wrote
MLFLOW_NOTE = "mlflow.note.content"  # the tag that MLflow's pages show as a description, in Markdown
MOST_NOTE = 7_500  # characters; a tag takes 8,000
FLUSH_SECONDS = 5.0  # metrics go out in batches: one by one a server takes about 35 a second


def milliseconds() -> int:
    """The time now as MLflow counts it, since 1970."""
    return int(time.time() * 1000)


@contextmanager
def run(
    name: str, params: Mapping[str, str], tags: Mapping[str, str], parent: str | None = None
) -> Iterator["TrackedRun"]:
    """Open a run inside the block; it ends FINISHED, FAILED after an exception, or KILLED after a cancellation.

    Its end is `TrackedRun.end_time` if that is set, else now. A run whose process was killed, or whose server could not
    be reached, is ended as KILLED when the next run is opened on this machine.
    """
    from mlflow.entities import Param

    api = client()
    experiment = experiment_id(api)
    _end_dead_runs(api)
    nested = {"mlflow.parentRunId": parent} if parent else {}
    entity = api.create_run(experiment, run_name=name, tags={**tags, **nested})
    tracked = TrackedRun(api, entity.info.run_id)
    for part in batches(allowed(params)):
        api.log_batch(tracked.run_id, params=[Param(name, value) for name, value in part])
    status = "KILLED"
    with liveness.alive("mlflow", tracked.run_id):
        try:
            yield tracked
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            tracked.flush()
            api.set_terminated(tracked.run_id, status=status, end_time=tracked.end_time)
            liveness.forget("mlflow", tracked.run_id)  # not reached if the server is away: the next run ends this one


def _end_dead_runs(api: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    for run_id in liveness.dead_runs("mlflow"):
        try:
            if api.get_run(run_id).info.status == "RUNNING":
                api.set_terminated(run_id, status="KILLED")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # of another server than this one, or removed
                raise
        liveness.forget("mlflow", run_id)


class TrackedRun(Observer):
    """An open MLflow run; as an observer it records a stage's metrics and warnings."""

    def __init__(self, api: "MlflowClient", run_id: str) -> None:
        self.run_id = run_id
        self.end_time: int | None = None  # milliseconds since 1970, of a run that ends before it is closed
        self._api = api
        self._pending: list[Any] = []
        self._flushed = time.monotonic()
        self._warnings: list[str] = []

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log finite values at `step`, in batches; see `flush`."""
        from mlflow.entities import Metric

        now = milliseconds()
        self._pending += [Metric(k, float(v), now, step) for k, v in values.items() if math.isfinite(v)]
        if len(self._pending) >= 500 or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the pending metrics."""
        for first in range(0, len(self._pending), 1000):
            self._api.log_batch(self.run_id, metrics=self._pending[first : first + 1000])
        self._pending, self._flushed = [], time.monotonic()

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        """Nothing: progress is not recorded."""

    def warning(self, message: str) -> None:
        """Add to the tag `kpod.warnings`."""
        self._warnings.append(message)
        self._api.set_tag(self.run_id, "kpod.warnings", well_formed("\n".join(self._warnings))[:4900])

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self._api.set_tag(self.run_id, key, value)

    def inputs(self, digests: Mapping[str, tuple[str, str]]) -> None:
        """Log inputs as datasets: name -> (sha256, URI)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(name=name, digest=digest[:12], source_type="kpod", source=source, profile=digest),
                tags=[InputTag("mlflow.data.context", name)],
            )
            for name, (digest, source) in digests.items()
        ]
        if datasets:
            self._api.log_inputs(self.run_id, datasets)

    def models(self, ids: Iterable[str]) -> None:
        """Link logged models as outputs of the run."""
        from mlflow.entities import LoggedModelOutput

        if outputs := [LoggedModelOutput(model_id, 0) for model_id in ids]:
            self._api.log_outputs(self.run_id, outputs)

    def document(self, name: str, tree: Mapping[str, Any]) -> None:
        """Store a JSON file as an artifact of the run, without passwords in addresses."""
        self._api.log_dict(self.run_id, scrubbed(tree), name)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Store a file as an artifact of the run, in `folder` if given."""
        self._api.log_artifact(self.run_id, str(path), folder)

    def table(self, name: str, columns: Mapping[str, list[Any]]) -> None:
        """Store columns as an artifact that MLflow's UI shows as a table."""
        self._api.log_table(self.run_id, dict(columns), name)

    def describe(self, markdown: str) -> None:
        """Set the description on MLflow's page of the run, truncated at a line if it is too long for a tag."""
        if len(markdown) > MOST_NOTE:
            markdown = markdown[:MOST_NOTE].rpartition("\n")[0] + "\n\n(the rest is in the report)"
        self._api.set_tag(self.run_id, MLFLOW_NOTE, markdown)

    @property
    def page(self) -> str:
        """The address of the run's page."""
        return f"{pages()}/{views.run_page(experiment_id(self._api), self.run_id)}"

    def link(self, artifact: str) -> str:
        """The address of an artifact in MLflow's UI, relative to its root."""
        return views.run_page(experiment_id(self._api), self.run_id, f"/artifacts/{artifact}")

    def beside(self, others: Iterable["TrackedRun"]) -> str:
        """The address at which MLflow's UI compares this and other runs, relative to its root."""
        return views.comparison_page(experiment_id(self._api), [self.run_id, *(run.run_id for run in others)])

    def upload(self, folder: Path) -> str:
        """Store a finished folder as the run's artifact and return its URI."""
        self._api.log_artifacts(self.run_id, str(folder), ARTIFACTS)
        return artifact_uri(self.run_id)


def artifact_uri(run_id: str) -> str:
    """The URI of the folder in a run's artifact store that its stage wrote."""
    return f"runs:/{run_id}/{ARTIFACTS}"
