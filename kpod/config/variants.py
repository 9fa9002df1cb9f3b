"""Methods to compare, each a set of overrides on one configuration (see `kpod.config.VARIANTS`).

Kept free of heavy imports: the command line and the flows read it.
"""

from collections.abc import Mapping
from typing import Any

from kpod.config import VARIANTS, Pipeline
from kpod.errors import ConfigError


def apply(config: Pipeline, method: str) -> Pipeline:
    """`config` with the settings that make it `method`. Raises ConfigError for an unknown method."""
    if method not in VARIANTS:
        raise ConfigError(f"methods: {method!r} is unknown; there are {', '.join(VARIANTS)}")
    tree = _merged(config.model_dump(), VARIANTS[method])
    if method != "base":
        tree["distill"]["objective"] = config.variants_of(method) or {"kind": "eq15"}
    return Pipeline.model_validate(tree)


def _merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in override.items():
        result[name] = _merged(result[name], value) if isinstance(value, Mapping) else value
    return result
