"""The order in which a pipeline pulls its results, whoever computes them."""

from collections.abc import Iterator
from typing import Protocol

from kpod.config import Pipeline
from kpod.config.variants import apply
from kpod.store.artifacts import ArtifactRef


class Results(Protocol):
    """Gives the result of a stage with everything it needs, from a cache or computed now."""

    def result(self, name: str, config: Pipeline, method: str) -> ArtifactRef: ...


def students(results: Results, config: Pipeline, until: str | None) -> Iterator[tuple[Pipeline, str, ArtifactRef]]:
    """Config, method and student of each method; nothing if `until` names a stage before `distill`.

    The teacher comes first: if it cannot be asked, nothing is trained before.
    """
    if until not in ("questions", "base"):
        for method in config.methods:
            if method != "base":
                results.result("rationales", apply(config, method), method)
    for method in config.methods:
        chain = apply(config, method)
        if until in (None, "distill", "evaluate"):
            yield chain, method, results.result("base" if method == "base" else "distill", chain, method)
        else:
            results.result(until, chain, method)
