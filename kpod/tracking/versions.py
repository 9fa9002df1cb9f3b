"""Versions of registered students, read from MLflow's SQLite file if there is one, else through its client."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kpod.tracking.reading import select
from kpod.tracking.server import client

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel

STUDENT = "kpod-student-"  # registered models are named after the dataset


@dataclass(frozen=True)
class ModelVersion:
    """As `mlflow.entities.model_registry.ModelVersion`."""

    name: str
    version: str
    run_id: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


def registered_models() -> list[str]:
    """The names of all registered students."""
    rows = select("SELECT name FROM registered_models WHERE name LIKE ? ORDER BY name", f"{STUDENT}%")
    if rows is not None:
        return [name for (name,) in rows]
    return [model.name for model in _registered(f"name LIKE '{STUDENT}%'")]


def model_versions(name: str) -> list[ModelVersion]:
    """All versions of a registered model, the newest first; empty if there is no such model."""
    rows = select(
        "SELECT version, run_id, description FROM model_versions"
        " WHERE name = ? AND current_stage != 'Deleted_Internal' ORDER BY version DESC",
        name,
    )
    if rows is not None:
        return _with_tags(name, rows) if rows else []
    import mlflow

    aliases = defaultdict[str, list[str]](list)
    for model in _registered(f"name = '{name}'"):
        for alias, number in model.aliases.items():
            aliases[str(number)].append(alias)
    entities = mlflow.search_model_versions(filter_string=f"name = '{name}'")
    versions = [converted(version, tuple(aliases[str(version.version)])) for version in entities]
    return sorted(versions, key=lambda version: -int(version.version))


def version_of(name: str, alias_or_version: str) -> ModelVersion | None:
    """The version with this number or alias, or None."""
    named = (v for v in model_versions(name) if alias_or_version in (v.version, *v.aliases))
    return next(named, None)


def converted(version: "MlflowVersion", aliases: tuple[str, ...] = ()) -> ModelVersion:
    """The version of MLflow's client as a `ModelVersion`."""
    tags = dict(version.tags)
    return ModelVersion(
        version.name, str(version.version), version.run_id or "", version.description or "", tags, aliases
    )


def _registered(query: str) -> "list[RegisteredModel]":
    client()  # sets the address
    import mlflow

    return mlflow.search_registered_models(filter_string=query)


def _with_tags(name: str, rows: Sequence[tuple[int, str | None, str | None]]) -> list[ModelVersion]:
    tags, aliases = defaultdict[int, dict[str, str]](dict), defaultdict[int, list[str]](list)
    for number, key, value in select("SELECT version, key, value FROM model_version_tags WHERE name = ?", name) or ():
        tags[number][key] = value
    for number, alias in select("SELECT version, alias FROM registered_model_aliases WHERE name = ?", name) or ():
        aliases[number].append(alias)
    return [
        ModelVersion(name, str(number), run_id or "", text or "", tags[number], tuple(sorted(aliases[number])))
        for number, run_id, text in rows
    ]
