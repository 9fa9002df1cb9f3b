"""Settings of the stage `sweep`. Without heavy imports, because the flow imports it."""

from pydantic import Field

from kpod.config.sweep import Sweep
from kpod.fields import Strict

Took = dict[str, dict[str, float]]  # stage -> figure -> value, as kpod.run.results.took returns them


class SweepSettings(Strict):
    """The sweep, and the costs of each of its arms."""

    sweep: Sweep
    took: dict[str, Took] = Field(default_factory=dict, description="By the arm's label.")
