"""What the stage `sweep` is told beside its inputs. Light: the flow imports it."""

from pydantic import Field

from kpod.config.sweep import Sweep
from kpod.fields import Strict

Took = dict[str, dict[str, float]]  # stage -> figure -> value, as kpod.run.results.took gives them


class SweepSettings(Strict):
    """The sweep, and what the stages of each of its arms took."""

    sweep: Sweep
    took: dict[str, Took] = Field(default_factory=dict, description="By the arm's label.")
