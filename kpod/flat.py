"""Nested settings as dotted keys: the shape in which MLflow compares runs and the report lists them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PASSWORD = re.compile(r"//[^/@\s]+@")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value of every leaf, in order; user and password in an address are left out."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from flatten({str(index): item for index, item in enumerate(value)}, f"{name}.")
        else:
            yield name, _PASSWORD.sub("//***@", str(value))
