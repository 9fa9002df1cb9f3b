"""The aliases `champion` and `challenger` of registered students: lookup, promotion and rollback."""

import json

from kpod import tracking
from kpod.errors import ConfigError
from kpod.retrain.gate import Decision
from kpod.run import stages
from kpod.store.artifacts import ArtifactRef

CHAMPION = "champion"
REPLACED = "kpod.replaced"  # on a champion: the version that was champion before it
ROLLED_BACK = "kpod.rolled_back"


def model_name(dataset: str) -> str:
    """The name of a dataset's registered model; a full name is returned as it is."""
    return dataset if dataset.startswith(tracking.STUDENT) else f"{tracking.STUDENT}{dataset}"


def find(model: str) -> tracking.ModelVersion:
    """The version named `MODEL@alias` or `MODEL/number`; for `MODEL`, the champion, else the newest version.

    Raises ConfigError if there is none.
    """
    head, at, part = model.partition("@" if "@" in model else "/")
    name = model_name(head)
    versions = tracking.model_versions(name)
    version = (
        tracking.version_of(name, part) if at else tracking.version_of(name, CHAMPION) or next(iter(versions), None)
    )
    if version is None:
        known = tracking.registered_models()
        raise ConfigError(f"no model version {model}; registered at {tracking.address()}: {', '.join(known) or 'none'}")
    return version


def student_of(version: tracking.ModelVersion) -> ArtifactRef:
    """The result that a version was registered from. Raises ConfigError if its run is gone."""
    run = tracking.get_run(version.run_id or "")
    ref = stages.ref_of(run) if run else None
    if ref is None:
        raise ConfigError(f"the run of {version.name}/{version.version} is gone from {tracking.address()}")
    return ref


def record(version: tracking.ModelVersion, decision: Decision, against: str | None) -> None:
    """Write a decision and its figures to the tags of the challenger; `against`: version number of the champion."""
    notes = {
        "kpod.decision": decision.action,
        "kpod.decision.reason": decision.reason,
        "kpod.decision.figures": json.dumps({k: round(v, 6) for k, v in decision.figures.items()}),
        "kpod.decision.champion": against or "none",
    }
    tracking.tag_version(version, notes)


def promote(version: tracking.ModelVersion) -> str | None:
    """Make a version the champion; returns the number of the version that it replaces, or None."""
    api = tracking.client()
    old = tracking.version_of(version.name, CHAMPION)
    if old is not None and old.version == version.version:
        return None
    if old is not None:  # tagged first: a kill between the two calls leaves the old champion and a harmless tag
        tracking.tag_version(version, {REPLACED: str(old.version)})
    api.set_registered_model_alias(version.name, CHAMPION, version.version)
    return str(old.version) if old else None


def rollback(model: str) -> tuple[str, str, str]:
    """Give the alias back to the previous champion; returns (name, version now, version before).

    The replaced version is tagged, so that the gate does not promote it again. Raises ConfigError if there is no
    champion, or none before it.
    """
    name, api = model_name(model), tracking.client()
    now = tracking.version_of(name, CHAMPION)
    if now is None:
        raise ConfigError(f"{name} has no champion at {tracking.address()}")
    before = now.tags.get(REPLACED)
    if before is None or tracking.version_of(name, before) is None:
        raise ConfigError(f"{name}/{now.version} is the first champion: there is none to go back to")
    tracking.tag_version(now, {ROLLED_BACK: "true"})
    api.set_registered_model_alias(name, CHAMPION, before)
    return name, before, str(now.version)
