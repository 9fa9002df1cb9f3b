"""Settings of the stage `distill`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod.answers.verifiers import Verifier
from kpod.config.budget import Budget
from kpod.config.methods import Eq15, Objective
from kpod.config.prompt import StudentStage
from kpod.fields import Fraction, Seed, Strict, operational


class Full(Strict):
    """Train every weight."""

    kind: Literal["full"] = "full"


class Lora(Strict):
    """Train low-rank adapters (PEFT); `student/` has them merged in."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(64, ge=1, description="Rank of the adapters.")
    alpha: int = Field(128, ge=1, description="Scale: the adapters' output is multiplied by alpha / rank.")
    dropout: Fraction = Field(0.0, description="Dropout on the adapters' input.")
    quantize: Literal["nf4"] | None = Field(
        None,
        description="nf4: the frozen weights in 4 bits while training (QLoRA), half a byte each; afterwards the "
        "adapters are merged into the weights as they were. Needs the extra `kpod[qlora]` and a CUDA device.",
    )
    keep: bool = Field(False, description="Write the adapter by itself too, as adapter/, beside the merged student.")


class Validation(Strict):
    """The student answers validation questions after each epoch, and the epoch with most right answers is kept."""

    questions: int = Field(200, ge=1, description="Questions of the split validation, at most.")
    max_new_tokens: int = Field(512, ge=1, description="Longest answer, in the student's tokens.")
    batch_size: int = Field(64, ge=1, description="Questions a batch; greedy output can depend on it in low precision.")
    verifier: Verifier | None = Field(None, description="Set by `verifier`, the setting of all stages.")


class Distill(StudentStage):
    """Stage `distill`: Eq. 15 and the answer term of Eq. 1."""

    objective: Objective = Field(Eq15(), description="Set by the method; the settings of its kinds are in `variants`.")
    token_weights: bool = Field(True, description="Set by the method: weight tokens by w_j; off: all ones.")
    progressive: bool = Field(True, description="Set by the method: follow the curriculum; off: whole rationales.")
    weight_floor: Fraction = Field(
        0.5,
        description="f of w' = f + (1 - f) w in Eq. 15; 0 is the paper's. Without a floor, tokens of weight 0 are not "
        "learnt, and the student fails at them when it writes a rationale by itself.",
    )
    weight_scale: Literal["raw", "mean1"] = Field("raw", description="mean1: scale each rationale's weights to mean 1.")
    keypoints: Fraction = Field(
        0.2,
        description="Share of the tokens that are keypoints: those that weigh most, and at least 0.03, on average over "
        "all their occurrences. Each step without one is left out. 0 keeps every step, as in the paper.",
    )
    samples: int | None = Field(
        None, ge=1, description="Train on the first so many different rationales of each question; null: on all."
    )
    budget: Budget = Field(Budget(of="scotd"), description="How long to train; one epoch is one stage of a curriculum.")
    batch_size: int = Field(16, ge=1, description="Rationales an optimizer step.")
    micro_batch: int = operational(8, "Rationales a forward pass.", ge=1)
    lr: float = Field(
        2e-5,
        gt=0,
        description="Peak learning rate. The default becomes 2e-4 where `adapter` is LoRA, whose weights start at "
        "zero. For full training of a student below a billion parameters, 5e-5 to 1e-4 is usual.",
    )
    warmup: Fraction = Field(0.05, description="Share of the steps in which the rate rises.")
    decay: Literal["constant", "linear", "cosine"] = Field("linear", description="Schedule after the warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    beta2: float = Field(
        0.999,
        gt=0,
        lt=1,
        description="AdamW's decay of the squared gradients' mean; 0.99 trains a student from scratch in fewer steps.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    adapter: Annotated[Full | Lora, Field(discriminator="kind")] = Full()
    dropout: Fraction = Field(0.0, description="Dropout of the student itself while it trains.")
    processes: int = operational(1, "Processes on this machine that train together, one a GPU.", ge=1)
    sharding: bool = operational(False, "Split weights and optimizer over the processes (FSDP), not DDP.")
    accelerate: Path | None = operational(
        None, "Config file of accelerate: the machines and processes that train, in place of `processes`, `sharding`."
    )
    compile: bool = operational(False, "torch.compile each block of the model: minutes at the start, faster on a GPU.")
    gradient_checkpointing: bool = operational(False, "Recompute activations: less memory, about a third slower.")
    validation: Validation | None = Field(
        None, description="Keep the epoch that answers validation questions best; null: the last epoch."
    )
    checkpoint_seconds: float = operational(
        60.0, "Seconds of work between checkpoints, or 20 times the cost of one if that is more.", gt=0
    )
    seed: Seed = 0

    @property
    def quantised(self) -> bool:
        """Whether the weights that adapters freeze are in 4 bits while training."""
        return isinstance(self.adapter, Lora) and self.adapter.quantize is not None

    @model_validator(mode="after")
    def _adapters_take_a_higher_rate(self) -> "Distill":
        if "lr" not in self.model_fields_set and isinstance(self.adapter, Lora):
            object.__setattr__(self, "lr", 2e-4)
        return self

    @model_validator(mode="after")
    def _a_quantised_student_is_whole(self) -> "Distill":
        if self.sharding and self.quantised:
            raise ValueError("distill.adapter.quantize keeps the student whole on each GPU: leave out distill.sharding")
        return self

    @model_validator(mode="after")
    def _objective_stands_alone(self) -> "Distill":
        if self.objective.kind != "eq15" and (self.token_weights or self.progressive):
            raise ValueError(f"objective {self.objective.kind} needs token_weights and progressive to be false")
        return self
