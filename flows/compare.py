"""Flow `kpod-compare`: a sweep of methods, seeds, datasets and students as one table."""

from typing import Any

from prefect import flow

from flows.orphans import end_with_worker
from flows.pipeline import StageName
from flows.sweeping import SweepSession
from kpod.config.sweep import Sweep
from kpod.sweep.plan import arms


@flow(name="kpod-compare", flow_run_name="{sweep.name}")
def kpod_compare(
    sweep: Sweep,
    refresh: list[StageName] = [],  # noqa: B006  # Prefect copies parameters
) -> dict[str, Any]:
    """Train and evaluate every arm of the sweep and compare them; shared stages are computed once.

    A run that was killed is continued by the next one. Returns the MLflow run's id, the computed stages, the table and
    its folder.

    Args:
        sweep: The comparison, as in a sweep's file.
        refresh: Stages to compute again although nothing changed.
    """
    end_with_worker()
    with SweepSession(sweep, arms(sweep), tuple(refresh)) as session:
        # What is trained comes first: a teacher that cannot be asked stops the sweep before any time is spent.
        for arm in sorted(session.arms, key=lambda arm: arm.method == "base"):
            session.run_arm(arm)
        return session.summary(session.table())
