"""Settings of the stage `report`. Without heavy imports, because the flow imports it."""

from pydantic import Field

from kpod.config import Pipeline
from kpod.fields import Strict


class Lineage(Strict):
    """The origin of one input."""

    name: str  # `<method>.<stage>`, the input's name
    stage: str
    key: str
    run_id: str  # of the MLflow run that executed the stage
    figures: dict[str, float] = Field(default_factory=dict)  # of its cost: cpu_seconds, target_tokens, ...


class ReportSettings(Strict):
    """The configuration and the lineage of everything shown."""

    pipeline: Pipeline
    lineage: tuple[Lineage, ...]
