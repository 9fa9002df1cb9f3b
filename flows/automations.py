"""Prefect automations: runs of dead workers are marked, failures and promotions are notified."""

from datetime import timedelta

from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture

from flows.events import DECISIONS

HEARTBEAT = "prefect.flow-run.heartbeat"
ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
BLOCK = "kpod-notifications"


def zombies(silence: timedelta) -> Automation:
    """Marks a run as crashed if after a heartbeat neither another one nor its end arrives within `silence`.

    Runs send heartbeats every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds (at least 30).
    """
    return Automation(
        name="kpod: no heartbeat, crashed",
        description="A worker that was killed together with its run cannot say so itself.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDED},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message="no heartbeat: its machine is gone; start it again, it goes on",
            )
        ],
    )


def notifications(block_id: str) -> tuple[Automation, ...]:
    """Notify of failed and crashed runs, and of challengers that were promoted or are on hold."""
    return (
        _notice(
            block_id,
            name="kpod: tell of failures",
            resource="prefect.flow-run.*",
            events={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            subject="kpod: {{ flow.name }} {{ flow_run.state.name }}",
            body="Run {{ flow_run.name }} ({{ flow_run.id }}): {{ flow_run.state.message }}",
        ),
        _notice(
            block_id,
            name="kpod: tell of champions",
            resource="kpod.model.*",
            events={DECISIONS["promote"], DECISIONS["hold"]},
            subject="{{ event.event }}",
            body="{{ event.resource.id }} version {{ event.payload.version }}: {{ event.payload.reason }}",
        ),
    )


def _notice(block_id: str, name: str, resource: str, events: set[str], subject: str, body: str) -> Automation:
    return Automation(
        name=name,
        trigger=EventTrigger(
            match={"prefect.resource.id": resource},
            expect=events,
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block_id, subject=subject, body=body)],
    )


def install(webhook: str | None, silence: timedelta = timedelta(seconds=90)) -> list[str]:
    """Create or replace the automations on the server; returns their names.

    With `webhook`, notifications are POSTed to this address as {"text": ...}.
    """
    automations = [zombies(silence)]
    if webhook:
        block = CustomWebhookNotificationBlock(name="kpod", url=webhook, json_data={"text": "{{subject}}\n{{body}}"})
        automations += notifications(str(block.save(BLOCK, overwrite=True)))
    for automation in automations:
        _delete(automation.name)
        automation.create()
    return [automation.name for automation in automations]


def _delete(name: str) -> None:
    try:
        Automation.read(name=name).delete()  # type: ignore[attr-defined]  # typed as if awaited
    except ValueError:  # there is none yet
        return
