"""The cache key of a stage: a hash of everything that decides its result."""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kpod import schemas
from kpod.store.code_version import source_of
from kpod.store.files import sha256_tree


def stage_key(stage: str, config: BaseModel, inputs: Mapping[str, str], code_version: str) -> str:
    """Hex sha256 over the stage's name, the schema version, its config, its inputs' hashes and its code.

    `inputs` maps the name of an upstream stage to the sha256 of what it wrote. Operational settings
    (concurrency, timeouts, ...) do not count, and an input file counts by its content, not by its path.
    """
    parts = {
        "stage": stage,
        "schema": schemas.VERSION,
        "config": identity(config),
        "inputs": dict(inputs),
        "code": code_version,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def identity(value: Any) -> Any:
    """The part of a config that decides the result, as a JSON value.

    Operational fields are left out; a path becomes the digest of its file or folder, a field marked `code` its name
    with the digest of the source.
    """
    if isinstance(value, BaseModel):
        return {
            name: _of_code(getattr(value, name)) if _marked(field, "code") else identity(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if not _marked(field, "operational")
        }
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if isinstance(value, Path):
        return {"sha256": sha256_tree(value)}
    return str(value) if isinstance(value, Decimal) else value


def _of_code(function: str) -> dict[str, str | None]:
    return {"name": function, "source": source_of(function.partition(":")[0])}


def _marked(field: FieldInfo, mark: str) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(mark))
