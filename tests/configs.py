"""The smallest settings that make a pipeline: what is distilled on what has no default."""

from typing import Any

from kpod.config import Pipeline, ScriptedEndpoint, Teacher
from kpod.config.settings import overlay, validate

REQUIRED: dict[str, Any] = {
    "questions": {"sources": [{"kind": "wordproblems"}]},
    "teacher": {"endpoint": {"kind": "scripted"}},
    "student": {"kind": "scratch"},
}


def pipeline(tree: dict[str, Any] | None = None) -> Pipeline:
    """A pipeline of REQUIRED with `tree` on top. Raises ConfigError as `kpod.config.settings.validate` does."""
    return validate(overlay(REQUIRED, tree or {}))


def scripted(**settings: Any) -> Teacher:
    """Settings of the scripted teacher, or of another one if they name an endpoint."""
    return Teacher(**{"endpoint": ScriptedEndpoint(), **settings})
