"""Nested settings as dotted keys, for MLflow's parameters and the report."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PASSWORD = re.compile(r"//[^/@\s]+@")


def scrubbed(value: Any) -> Any:
    """A JSON value with user and password left out of every address in it."""
    if isinstance(value, Mapping):
        return {key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    return _PASSWORD.sub("//***@", value) if isinstance(value, str) else value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value (as text) of every leaf of a tree, in order; user and password of addresses are left out."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{name}.")
        else:
            yield name, _PASSWORD.sub("//***@", str(value))
