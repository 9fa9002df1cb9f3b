"""The progress of a stage as an artifact in Prefect's UI."""

import time
from collections.abc import Mapping

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

UPDATE_SECONDS = 10.0  # an update is an API call


class ProgressArtifact:
    """An observer that updates one progress artifact for each bar of a stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._artifacts: dict[str, object] = {}
        self._figures: Mapping[str, float] = {}
        self._updated = 0.0

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        """Publish the share done, the last metrics and the time left, at most every UPDATE_SECONDS and at the end."""
        finished = done >= total
        if not finished and time.monotonic() - self._updated < UPDATE_SECONDS:
            return
        if finished and description not in self._artifacts:
            return  # over before there was anything to watch
        self._updated = time.monotonic()
        share = 100.0 * done / total if total else 100.0
        text = f"{self._stage}: {description}, {done:g} of {total:g}"
        text += "".join(f", {name} {value:.6g}" for name, value in self._figures.items())
        if seconds_left is not None and not finished:
            text += f", about {seconds_left / 60:.1f} min left"
        if description in self._artifacts:
            update_progress_artifact(self._artifacts[description], progress=share, description=text)  # type: ignore[arg-type]
        else:
            self._artifacts[description] = create_progress_artifact(progress=share, description=text)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Keep the last metrics, to be shown with the share done."""
        self._figures = dict(values)

    def warning(self, message: str) -> None:
        """Log the warning in the flow run's log."""
        get_run_logger().warning(message)
