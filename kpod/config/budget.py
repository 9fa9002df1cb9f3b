"""Training budget: settings shared by the stages `curriculum` and `distill`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from kpod.fields import Strict


class Budget(Strict):
    """How much a student is trained on, in one of three ways.

    `{epochs: n}`: n epochs, whatever their tokens; an epoch trains on one rationale of each question.
    `{target_tokens: n}`: epochs until n target tokens are trained on.
    `{of: scotd}`: as many target tokens as plain distillation has in `epochs` epochs (4 unless given), so that all
    methods of a run are compared at equal target tokens: a curriculum, whose epochs have fewer, gets more of them.

    Training stops after the optimizer step that reaches the budget, less than one batch above it.
    """

    of: Literal["scotd"] | None = Field(None, description="Count `epochs` in the target tokens of plain distillation.")
    epochs: int | None = Field(None, ge=1, description="Number of epochs.")
    target_tokens: int | None = Field(None, ge=1, description="Number of target tokens.")

    @model_validator(mode="before")
    @classmethod
    def _of_four_epochs(cls, value: Any) -> Any:
        alone = isinstance(value, dict) and value.get("of") and value.keys() <= {"of"}
        return {**value, "epochs": 4} if alone else value

    @model_validator(mode="after")
    def _one_way(self) -> "Budget":
        if (self.epochs is None) == (self.target_tokens is None) or (self.of and self.epochs is None):
            raise ValueError("give {epochs: n}, {target_tokens: n} or {of: scotd, epochs: n}")
        return self
