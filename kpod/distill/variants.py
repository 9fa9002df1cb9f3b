"""Methods to compare, each a set of overrides on one configuration (no code of their own).

Kept free of heavy imports: the command line and the flows read it.
"""

from collections.abc import Mapping
from typing import Any

from kpod.config import Pipeline
from kpod.errors import ConfigError

VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},  # the student before distillation
    "scotd": {"distill": {"token_weights": False, "progressive": False}},  # Eq. 1
    "kpod": {"distill": {"token_weights": True, "progressive": True}},
    "kpod-wo-sig": {"distill": {"token_weights": False, "progressive": True}},
    "kpod-wo-sig-dif": {
        "distill": {"token_weights": True, "progressive": True},
        "difficulty": {"weighting": "uniform"},
    },
    "kpod-wo-prog": {"distill": {"token_weights": True, "progressive": False}},
    "kpod-wo-div": {"distill": {"token_weights": True, "progressive": True}, "curriculum": {"beta": 0.0}},
}


def apply(config: Pipeline, method: str) -> Pipeline:
    """`config` with the settings that make it `method`. Raises ConfigError for an unknown method."""
    if method not in VARIANTS:
        raise ConfigError(f"methods: {method!r} is unknown; there are {', '.join(VARIANTS)}")
    return Pipeline.model_validate(_merged(config.model_dump(), VARIANTS[method]))


def _merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in override.items():
        result[name] = _merged(result[name], value) if isinstance(value, Mapping) else value
    return result
