"""The stage cache: one Prefect task a stage, keyed by content, computed once for all runs that need it."""

from contextlib import nullcontext

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.concurrency.sync import concurrency
from prefect.transactions import IsolationLevel

from flows.locks import FlockManager
from flows.pages import show_stage
from flows.progress import ProgressArtifact
from kpod import tracking
from kpod.observe import warning
from kpod.run import stages
from kpod.run.chain import Task
from kpod.store.artifacts import ArtifactRef
from kpod.store.home import home

TEACHER_LIMIT = "kpod-teacher"  # a global concurrency limit of the server; without it there is no limit
LEASE = 60.0  # seconds for which a killed run still holds its slot; the server's minimum


def run_cached(work: Task, parent: str) -> tuple[ArtifactRef, bool]:
    """The result of a stage, and whether it was computed now; a result whose bytes are missing or altered is a miss.

    `parent` is the id of the MLflow run above the stage's. The lock of the key is held while the stage is computed:
    other runs that need its result wait for it.
    """
    stage, method, computed = work.stage, work.tags["kpod.method"], False

    def compute() -> ArtifactRef:
        nonlocal computed
        if not work.refresh and (recorded := stages.recorded(work.key)):
            return recorded  # another machine, or a cache that was cleared
        computed = True
        # One slot a stage, not one a request: a slot costs a call to the server.
        with concurrency(TEACHER_LIMIT, lease_duration=LEASE) if stage.name == "rationales" else nullcontext():
            watchers = (ProgressArtifact(stage.name),)
            ref = stages.execute(stage, work.config, work.inputs, parent, work.tags, watchers, work.refresh)
        show_stage(stage.name, method, tracking.final_metrics(ref.run_id))
        return ref

    results = home() / "cache"
    results.mkdir(parents=True, exist_ok=True)
    cached = task(
        name=stage.name,
        task_run_name=f"{stage.name} ({method})",
        cache_policy=CacheKeyFnPolicy(cache_key_fn=lambda context, arguments: work.key).configure(
            isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=FlockManager(home() / "locks")
        ),
        persist_result=True,
        result_storage=results,
        result_serializer="json",
    )(compute)
    # None leaves the decision to PREFECT_TASKS_REFRESH_CACHE, False would override it.
    ref = cached.with_options(refresh_cache=work.refresh or None)()  # type: ignore[arg-type]
    if not computed and tracking.fetch(ref) is None:
        warning(f"the cached result of {stage.name} is gone or altered: it is computed again")
        ref = cached.with_options(refresh_cache=True)()
    return ref, computed
