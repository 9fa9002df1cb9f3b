"""Methods to compare, each a set of overrides on one configuration (see `kpod.config.VARIANTS`).

Kept free of heavy imports: the command line and the flows read it.
"""

from kpod.config import VARIANTS, Pipeline
from kpod.config.settings import overlay
from kpod.errors import ConfigError


def apply(config: Pipeline, method: str) -> Pipeline:
    """`config` with the settings that make it `method`. Raises ConfigError for an unknown method."""
    if method not in VARIANTS:
        raise ConfigError(f"methods: {method!r} is unknown; there are {', '.join(VARIANTS)}")
    tree = overlay(config.model_dump(), VARIANTS[method])
    if method != "base":
        tree["distill"]["objective"] = config.variants_of(method) or {"kind": "eq15"}
    return Pipeline.model_validate(tree)
