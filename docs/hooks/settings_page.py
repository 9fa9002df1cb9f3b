"""The page of all settings, made from the pydantic models whenever the site is built."""

import json
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from kpod.config import Pipeline
from kpod.config.retrain import Retrain
from kpod.config.sweep import Sweep
from kpod.config.teacher import SharedTeacher, Teacher

INTRO = """# Settings

Every key of a recipe. A key is written as nested YAML or as a dotted name after `--set`, for example
`--set distill.lr=1e-4`. An unknown key is refused before anything runs.

A key marked *operational* changes speed, cost limits or patience, never a result: after a change of it nothing is
computed again.
"""
DERIVED = "Set by "  # beginning of the description of a field that is no setting of its own
ROOTS = [
    (Pipeline, "The pipeline", "A recipe: `kpod run FILE.yaml`."),
    (Sweep, "A sweep", "`kpod sweep FILE.yaml`, see [comparing](comparing.md)."),
    (Retrain, "Retraining", "`kpod retrain RECIPE --settings FILE.yaml`, see [operations](operations.md#retrain)."),
]
BOUNDS = {at.Ge: "≥", at.Gt: ">", at.Le: "≤", at.Lt: "<"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add settings.md."""
    files.append(File.generated(config, "settings.md", content=page()))
    return files


def page() -> str:
    """The Markdown of the page."""
    return "\n".join([INTRO, *(line for root in ROOTS for line in _root(*root))])


def _root(model: type[BaseModel], title: str, text: str) -> Iterator[str]:
    yield f"## {title}\n\n{text}\n"
    yield from _section(model, "", "" if model is Pipeline else f"{model.__name__.lower()}-", 3)


def _section(model: type[BaseModel], key: str, root: str, level: int) -> Iterator[str]:
    """The table of a model, then the sections of the models inside it; `root` begins their anchors."""
    fields = _own(model)
    yield from _table(fields, key, root)
    for name, field in fields.items():
        inner = models_in(field.annotation)
        dotted = f"{key}.{name}".lstrip(".")
        for one in inner:
            kind = one.model_fields["kind"].default if len(inner) > 1 else None
            heading = f"`{dotted}`" + (f" with `kind: {kind}`" if kind else "")
            anchor = _anchor(root, dotted) + (f"-{kind}" if kind and one is not inner[0] else "")
            yield f"{'#' * min(level, 5)} {heading} {{ #{anchor} }}\n"
            yield f"{_paragraph(one.__doc__)}\n"
            yield from _section(one, dotted, f"{root}{kind}-" if kind else root, level + 1)


def _own(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that a user may set; of one of several teachers those that a single one has not."""
    known = Teacher.model_fields if model is SharedTeacher else {}
    return {
        name: field
        for name, field in model.model_fields.items()
        if name not in known and not (field.description or "").startswith(DERIVED)
    }


def _anchor(root: str, dotted: str) -> str:
    return (root + dotted).replace(".", "-")


def _table(fields: dict[str, FieldInfo], key: str, root: str) -> Iterator[str]:
    yield "| key | type | default | description |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        extra = field.json_schema_extra
        note = " *operational*" if isinstance(extra, dict) and extra.get("operational") else ""
        link = (
            f"[`{name}`](#{_anchor(root, f'{key}.{name}'.lstrip('.'))})" if models_in(field.annotation) else f"`{name}`"
        )
        cells = [link, type_of(field), default_of(field), _description(field) + note]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _description(field: FieldInfo) -> str:
    """The field's description; of a group without one, what its model says of itself."""
    inner = models_in(field.annotation)
    return _paragraph(field.description or (inner[0].__doc__ if len(inner) == 1 else ""))


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for part in get_args(annotation) for model in models_in(part)))


def type_of(field: FieldInfo) -> str:
    """A field's type with its bounds, as text for people."""
    return " ".join([_name(field.annotation), *_bounds(field.metadata)])


def _bounds(metadata: Any) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata)
        for kind, sign in BOUNDS.items():
            if isinstance(item, kind):
                yield f"{sign} {getattr(item, kind.__name__.lower())}"


def _name(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([_name(parts[0]), *_bounds(parts[1:])])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(part) for part in parts))
    if origin is list:
        return f"list of {_name(parts[0])}"
    if origin is dict:
        return f"map of {_name(parts[0])} to {_name(parts[1])}"
    if annotation is type(None):
        return "`null`"
    if annotation is Any:
        return "any"
    if models_in(annotation):
        return "group"
    return {Path: "file or folder"}.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default_of(field: FieldInfo) -> str:
    """A field's default as YAML's flow style writes it; a group's defaults stand in its own table."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        changed = value.model_dump(mode="json", exclude_defaults=True)
        return f"`{{kind: {kind}}}`" if kind else f"`{_yaml(changed)}`" if changed else "see below"
    if value is PydanticUndefined:
        return ""
    value = value.value if isinstance(value, Enum) else to_jsonable_python(value)
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return value if value and "\n" not in value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
