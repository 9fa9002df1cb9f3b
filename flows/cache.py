"""The stage cache: one Prefect task a stage, keyed by content, computed once however many runs need it."""

from collections.abc import Mapping
from contextlib import nullcontext

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.concurrency.sync import concurrency
from prefect.transactions import IsolationLevel

from flows.locks import FlockManager
from flows.pages import show_stage
from flows.progress import ProgressArtifact
from kpod import tracking
from kpod.config import Pipeline
from kpod.observe import warning
from kpod.run import stages
from kpod.store.artifacts import ArtifactRef
from kpod.store.home import home

TEACHER_LIMIT = "kpod-teacher"  # a global concurrency limit of the server; without one nothing is held back
LEASE = 60.0  # seconds that a slot outlives the run that held it and was killed; the server's least


def run_cached(
    stage: stages.Stage,
    key: str,
    config: Pipeline,
    inputs: Mapping[str, ArtifactRef],
    parent: str,
    tags: Mapping[str, str],
    refresh: bool = False,
) -> tuple[ArtifactRef, bool]:
    """The stage's result, and whether it was computed now; a result whose bytes are gone or altered is a miss.

    The lock of `key` is held while it is computed: whoever else needs it waits and then finds it.
    """
    computed, method = False, tags["kpod.method"]

    def compute() -> ArtifactRef:
        nonlocal computed
        if not refresh and (found := stages.recorded(key)):
            return found  # another machine, or a cache that was cleared
        computed = True
        # One slot a stage, not one a request: a slot costs a call to the server.
        with concurrency(TEACHER_LIMIT, lease_duration=LEASE) if stage.name == "rationales" else nullcontext():
            watchers = (ProgressArtifact(stage.name),)
            ref = stages.execute(stage, config, inputs, parent, tags, watchers=watchers, refresh=refresh)
        show_stage(stage.name, method, tracking.final_metrics(ref.run_id))
        return ref

    results = home() / "cache"
    results.mkdir(parents=True, exist_ok=True)
    cached = task(
        name=stage.name,
        task_run_name=f"{stage.name} ({method})",
        cache_policy=CacheKeyFnPolicy(cache_key_fn=lambda context, arguments: key).configure(
            isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=FlockManager(home() / "locks")
        ),
        persist_result=True,
        result_storage=results,
        result_serializer="json",
    )(compute)
    # None leaves the decision to PREFECT_TASKS_REFRESH_CACHE, False would override it.
    ref = cached.with_options(refresh_cache=refresh or None)()  # type: ignore[arg-type]
    if not computed and tracking.fetch(ref) is None:
        warning(f"the cached result of {stage.name} is gone or altered: it is computed again")
        ref = cached.with_options(refresh_cache=True)()
    return ref, computed
