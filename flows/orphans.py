"""Clean-up after killed processes.

A run ends with its worker, and an embedded server with its run. The state of a run that was killed before it could
report its end is set by the next run of the same state folder.
"""

import os
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed

from kpod.store import liveness
from kpod.store.home import prepare
from kpod.store.liveness import die_with_parent, kill_on_exit

BY_WORKER = "PREFECT__FLOW_RUN_ID"  # in the environment of a run that a worker has started


def end_with_worker() -> None:
    """Tie this process to its worker and the embedded server to this process; to be called when a flow begins."""
    prepare()
    if BY_WORKER in os.environ:
        die_with_parent()
    elif not PREFECT_API_URL.value():
        from prefect.server.api.server import SubprocessASGIServer

        if embedded := SubprocessASGIServer().server_process:  # the one that this flow talks to
            kill_on_exit(embedded.pid)
    _crash_dead_runs()
    if runtime.flow_run.id:
        liveness.acquire(
            "prefect", runtime.flow_run.id
        )  # to the end of the process, which comes after that of the flow


def _crash_dead_runs() -> None:
    """Set the state of runs whose process is dead; they would hold their deployments' slots for ever."""
    with get_client(sync_client=True) as client:
        for run_id in liveness.dead_runs("prefect"):
            try:
                state = client.read_flow_run(UUID(run_id)).state
            except ObjectNotFound:  # of another server than this one, or removed
                state = None
            if state and (state.is_running() or state.is_cancelling()):
                end = Cancelled if state.is_cancelling() else Crashed
                client.set_flow_run_state(
                    UUID(run_id),
                    end(message="its process was killed: start the run again, finished stages come from the cache"),
                    force=True,
                )
            liveness.forget("prefect", run_id)
