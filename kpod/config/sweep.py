"""Settings of a sweep: datasets, students, methods and seeds to compare."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from kpod.config import Method
from kpod.config.questions import Source
from kpod.fields import NAME, Seed, Strict

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # no dot: names become parts of tags
SeedOf = Literal["distill.seed", "weights.seed", "curriculum.seed"]


class Variant(Strict):
    """A method with other settings, e.g. {method: kpod, set: {weights.alpha: 1.0}}."""

    method: Method = Field(description="The method whose settings are changed.")
    set: dict[str, Any] = Field(default_factory=dict, description="Settings by dotted key, as in --set.")


class Sweep(Strict):
    """A sweep trains every variant with every seed on every dataset and student; shared stages run once."""

    name: str = Field("sweep", pattern=NAME, description="Name of the run in MLflow.")
    pipeline: dict[str, Any] = Field(
        default_factory=dict, description="Settings that all share, as in a pipeline's file; but no questions, methods."
    )
    datasets: dict[Name, list[Source]] = Field(
        min_length=1, description="Sources by name of the set: the first is trained on, the others only asked."
    )
    students: dict[Name, dict[str, Any]] = Field(
        {"student": {}},
        min_length=1,
        description="Settings of each student, on top of `pipeline`; `by_dataset: {DATASET: ...}` in one is for that "
        "dataset alone, and does nothing where it is not among the datasets.",
    )
    across: list[Literal["datasets", "students"]] = Field(
        ["datasets", "students"], description="Compare over all of these; of the others only the first entry is used."
    )
    methods: list[Method] = Field(["base", "scotd", "kpod"], description="Methods with their own settings.")
    variants: dict[Name, Variant] = Field(
        default_factory=dict, description="Further variants to compare, by name: methods with other settings."
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, description="Each variant is trained once a seed.")
    vary: list[SeedOf] = Field(["distill.seed"], min_length=1, description="Settings that take the value of the seed.")
    against: str | None = Field(None, description="Differences are against this one; default scotd, else the first.")

    reports: bool = Field(False, description="Make the report page of every arm too, with its token heat maps.")

    @property
    def compared(self) -> dict[str, Variant]:
        """All methods and variants by name, in the order of the table."""
        return {**{method: Variant(method=method) for method in self.methods}, **self.variants}

    @property
    def reference(self) -> str:
        """Name of the method or variant that differences are taken against."""
        names = list(self.compared)
        return self.against or ("scotd" if "scotd" in names else names[0])

    @model_validator(mode="after")
    def _names_are_distinct_and_known(self) -> "Sweep":
        names = [*self.methods, *self.variants]
        if not names:
            raise ValueError("name at least one of methods and variants")
        if len(set(names)) != len(names) or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a method, variant or seed is named twice")
        if self.against is not None and self.against not in names:
            raise ValueError(f"against names {self.against}, which is not compared")
        for student, settings in self.students.items():
            own = settings.get("by_dataset", {})
            if not isinstance(own, dict) or not all(isinstance(tree, dict) for tree in own.values()):
                raise ValueError(f"students.{student}.by_dataset must hold settings by dataset: {{DATASET: {{...}}}}")
        if reserved := {"questions", "methods", "name"} & self.pipeline.keys():
            raise ValueError(f"pipeline must not hold {', '.join(sorted(reserved))}: the sweep sets them")
        return self
