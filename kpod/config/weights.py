"""Settings of the stage `weights`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kpod.config.prompt import ModelStage
from kpod.fields import Seed, operational

LARGE = 1_000_000_000  # parameters from which on the answer predictor is trained by adapters


def collapsed(mean: float) -> bool:
    """Whether token weights with this mean have collapsed to ones or zeros: it is outside [0.05, 0.95]."""
    return not 0.05 <= mean <= 0.95


class Weights(ModelStage):
    """Stage `weights`: the token weighter of Eq. 2-7."""

    source: Literal["learned", "rule"] = Field(
        "learned", description="rule: digits, operators and names high, the rest low; nothing is trained."
    )
    predictor: Path | None = Field(
        None, description="Model folder of the answer predictor (a projection is learned); null: the student."
    )
    weighter: Path | None = Field(
        None, description="Folder `weighter/` of an earlier run of this stage to apply; nothing is trained."
    )
    epochs: int = Field(1, ge=0, description="Epochs in which the weighter is trained.")
    warmup: int = Field(
        1,
        ge=0,
        description="Epochs before these in which only the answer predictor is trained; a student from scratch, which "
        "reads badly, needs 3.",
    )
    prefixes: Annotated[int, Field(ge=1)] | Literal["steps", "tokens"] = Field(
        4,
        description="Prefixes of the masked rationale in Eq. 5, drawn anew each time; steps, tokens: every end of one.",
    )
    alpha: float = Field(
        0.3,
        ge=0,
        description="Weight of the mask-length loss in Eq. 7 (paper: 0.5). If it is too small, all weights stay near "
        "1; if it exceeds the nats that the rationale is worth to the predictor, every token is masked.",
    )
    mask: Literal["soft", "hard"] = Field(
        "soft",
        description="soft: the binary concrete value itself, in (0, 1); hard: rounded to zeros and ones with a "
        "straight-through gradient (Eq. 4), which a sure predictor leaves without a signal.",
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of the binary concrete masks (Eq. 4).")
    final_temperature: float | None = Field(None, gt=0, description="Anneal the temperature to this by the last epoch.")
    per_length: bool = Field(
        True, description="Divide both losses by the rationale's length, so alpha keeps its meaning."
    )
    heads: int = Field(4, ge=1, description="Heads of the self-attention in Eq. 2.")
    lr: float = Field(5e-4, gt=0, description="Learning rate of the weighter.")
    predictor_adapter: Literal["auto", "full", "lora"] = Field(
        "auto",
        description="What of the answer predictor is trained. full: every weight but the embedding; lora: "
        "adapters of rank 64 on the frozen model in `precision`, 2 bytes a weight instead of 16; auto: lora from a "
        "billion parameters on.",
    )
    predictor_lr: float | None = Field(
        None, ge=0, description="Learning rate of the answer predictor; null: 5e-5, or 2e-4 of adapters; 0 freezes it."
    )
    batch_size: int = Field(8, ge=1, description="Rationales an optimizer step.")
    batch_tokens: int = operational(8192, "Padded tokens a forward pass; larger batches are accumulated.", ge=1)
    processes: int = operational(1, "Processes on this machine that train and weigh together, one a GPU.", ge=1)
    train_on: int | None = Field(None, ge=1, description="Train on a sample of so many rationales; all get weights.")
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of questions held out to watch the loss, every 50 steps and at an epoch's end: two "
        "validations without a lower one end the training.",
    )
    checkpoint_seconds: float = operational(
        60.0, "Seconds of work between checkpoints, or 20 times the cost of one if that is more.", gt=0
    )
    seed: Seed = 0

    def for_predictor(self, parameters: int) -> "Weights":
        """These settings with `predictor_adapter` and `predictor_lr` resolved for a predictor of so many parameters."""
        large = parameters >= LARGE
        adapter = ("lora" if large else "full") if self.predictor_adapter == "auto" else self.predictor_adapter
        usual = 2e-4 if adapter == "lora" else 5e-5
        lr = usual if self.predictor_lr is None else self.predictor_lr
        return self.model_copy(update={"predictor_adapter": adapter, "predictor_lr": lr})
