"""Events that other flows and people act on."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from prefect.events import emit_event
from prefect.events.worker import EventsWorker

DECISIONS = {"promote": "kpod.model.promoted", "keep": "kpod.model.kept", "hold": "kpod.model.held"}
ARRIVED = "kpod.dataset.arrived"


def arrived(address: str) -> None:
    """New questions lie at `address`, as workers see it: starts the deployment kpod-retrain/on-data."""
    resource = {"prefect.resource.id": f"kpod.dataset.{PurePath(address).name}"}
    emit_event(event=ARRIVED, resource=resource, payload={"address": address})
    EventsWorker.instance().drain()  # a short command must not end before its event is out


def decided(dataset: str, action: str, payload: Mapping[str, Any]) -> None:
    """The gate has decided about a challenger."""
    emit_event(
        event=DECISIONS[action], resource={"prefect.resource.id": f"kpod.model.{dataset}"}, payload=dict(payload)
    )
