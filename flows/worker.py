"""Runs that a worker has started."""

import os

from kpod.alive import die_with_parent

STARTED = "PREFECT__FLOW_RUN_ID"  # in the environment of such a run


def end_with_worker() -> None:
    """A worker that is killed takes its run with it: nobody could cancel it, and the next goes on where it was."""
    if STARTED in os.environ:
        die_with_parent()
