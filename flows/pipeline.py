"""Flow `kpod`: from questions to evaluated students, for each method of the config."""

from typing import TYPE_CHECKING, Any, Literal

from prefect import flow

from flows.orphans import end_with_worker
from flows.session import Session
from kpod.config import Pipeline
from kpod.config.settings import load
from kpod.run.chain import students
from kpod.run.stages import STAGES

if TYPE_CHECKING:
    StageName = str
else:
    StageName = Literal[tuple(STAGES)]  # so that the form of a deployment offers them


@flow(name="kpod", flow_run_name="{config.name}")
def kpod(
    config: Pipeline = load("demo"),  # noqa: B008  # immutable
    refresh: list[StageName] = [],  # noqa: B006  # Prefect copies parameters
    until: StageName | None = None,
) -> dict[str, Any]:
    """Train and compare the students of `config.methods`; results of unchanged stages come from the cache.

    Returns the MLflow run's id, the computed stages, the table of accuracies and the path of the report.

    Args:
        config: The settings of all stages, as in a recipe's file.
        refresh: Stages to compute again although nothing changed.
        until: The last stage to reach; empty for all, the report included.
    """
    end_with_worker()
    with Session(config, refresh=tuple(refresh)) as session:
        for chain, method, student in students(session, config, until):
            if method != "base":
                session.register(method, student)
            if until != "distill":
                session.evaluate(chain, method, student)
        return session.summary(session.report() if until in (None, "evaluate") else None)
