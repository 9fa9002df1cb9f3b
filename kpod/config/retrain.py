"""Settings of retraining. They are no part of the pipeline's, so a change here recomputes no stage of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from kpod.fields import Fraction, Strict


class Contract(Strict):
    """Rules for rows and files of new questions; those that break a rule are set aside with the reason."""

    max_chars: int = Field(4000, ge=1, description="Longest question, options included.")
    kinds: list[Literal["options", "numbers", "texts"]] | None = Field(
        None, description="Kinds of answers; null: those that the training questions have already."
    )
    max_mb: float = Field(256, gt=0, description="Largest file, in megabytes, unpacked.")


class Gate(Strict):
    """When a challenger replaces the champion."""

    alpha: float = Field(0.05, gt=0, lt=1, description="Significance of the paired test (exact McNemar, two-sided).")
    min_questions: int = Field(100, ge=1, description="With fewer held-out questions the gate holds.")
    worthwhile: Fraction = Field(
        0.01, description="Keep the champion if the 95% interval of the difference ends below this."
    )


class Retrain(Strict):
    """Flow `kpod-retrain`: trains on new questions and may promote a new champion."""

    contract: Contract = Contract()
    near: float = Field(
        0.8, gt=0, le=1, description="Two texts are near copies from this share of common word trigrams on."
    )
    protected: list[Path] = Field(
        default_factory=list, description="Further evaluation sets (JSONL or Parquet) that no new question may copy."
    )
    reuse_weights: bool = Field(True, description="Apply the champion's token weighter instead of training one.")
    gate: Gate = Gate()
