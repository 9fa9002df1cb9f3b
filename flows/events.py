"""Events that start deployments and notifications."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from prefect.events import emit_event
from prefect.events.worker import EventsWorker

DECISIONS = {"promote": "kpod.model.promoted", "keep": "kpod.model.kept", "hold": "kpod.model.held"}
ARRIVED = "kpod.dataset.arrived"


def arrived(address: str) -> None:
    """Emit that new questions are at `address`, as workers see it: starts the deployment kpod-retrain/on-data."""
    resource = {"prefect.resource.id": f"kpod.dataset.{PurePath(address).name}"}
    emit_event(event=ARRIVED, resource=resource, payload={"address": address})
    EventsWorker.instance().drain()  # a short command must not end before its event is out


def decided(dataset: str, action: str, payload: Mapping[str, Any]) -> None:
    """Emit the gate's decision (`action`: promote, keep or hold) on a challenger."""
    emit_event(
        event=DECISIONS[action], resource={"prefect.resource.id": f"kpod.model.{dataset}"}, payload=dict(payload)
    )
