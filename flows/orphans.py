"""No process outlives its run: a killed worker takes its run with it, a killed run its embedded server."""

import os

from prefect.settings import PREFECT_API_URL

from kpod.alive import die_with_parent, kill_after_me

BY_WORKER = "PREFECT__FLOW_RUN_ID"  # in the environment of a run that a worker has started


def leave_no_orphan() -> None:
    """To be called when a flow begins. Nobody could cancel the run of a dead worker; the next goes on where it was."""
    if BY_WORKER in os.environ:
        die_with_parent()
    elif not PREFECT_API_URL.value():
        from prefect.server.api.server import SubprocessASGIServer

        if embedded := SubprocessASGIServer().server_process:  # the one that this flow talks to
            kill_after_me(embedded.pid)
