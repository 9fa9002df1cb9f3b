"""Settings of the methods that have a loss of their own. `kpod.methods` holds the objective behind each of them."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kpod.fields import Fraction, Strict

if TYPE_CHECKING:
    from kpod.config.pipeline import Pipeline


class MethodSettings(Strict):
    """Base of the settings of one method; `kind` is its name."""

    kind: str

    def training_dropout(self, dropout: float) -> float:
        """Dropout of the student during training; `dropout` is the value of `distill.dropout`."""
        return dropout

    def check(self, config: "Pipeline") -> None:
        """Raise ValueError, naming the setting to change, if `config` cannot provide the data that the method needs."""


class Eq15(MethodSettings):
    """Eq. 15, with the weights and the curriculum that `token_weights` and `progressive` ask for."""

    kind: Literal["eq15"] = "eq15"


class Icl(MethodSettings):
    """In-sample curriculum (Jia et al., 2023): one share of every target is input, less whenever validation stalls."""

    kind: Literal["icl"] = "icl"
    rho: Fraction = Field(0.6, description="Share of each target's tokens that is input at first.")
    drop: float = Field(0.3, gt=0, description="Taken from the share when an epoch brings no better validation loss.")
    validation: float = Field(0.1, gt=0, lt=1, description="Share of questions held out from training to watch.")


class Acl(MethodSettings):
    """Adaptive curriculum (Kong et al., 2021): the easiest rationales first, judged anew after each epoch."""

    kind: Literal["acl"] = "acl"
    p: float = Field(0.3, gt=0, le=1, description="Share of the rationales that the first epoch trains on.")
    q: float = Field(1.5, gt=1, description="The share grows by this factor ...")
    r: int = Field(1, ge=1, description="... every so many epochs.")
    a: Fraction = Field(0.5, description="Part of the current loss in the new score: s <- (1-a) s + a loss.")
    gamma: float = Field(0.1, ge=0, description="Weight of KL(student before training, student).")
    gamma_decay: Fraction = Field(0.5, description="The weight is multiplied by this after each epoch.")


class Spl(MethodSettings):
    """Self-paced learning (Wan et al., 2020): tokens whose probability varies under dropout count less."""

    kind: Literal["spl"] = "spl"
    passes: int = Field(5, ge=2, description="Passes with dropout from which the variance is taken.")
    dropout: float = Field(0.1, gt=0, lt=1, description="Dropout of the student when distill.dropout is 0.")

    def training_dropout(self, dropout: float) -> float:
        """`distill.dropout`, or the method's own where that is 0."""
        return dropout or self.dropout


class MccKd(MethodSettings):
    """Multi-CoT consistency (Chen et al., 2023): two rationales of a question must agree on the answer."""

    kind: Literal["mcc-kd"] = "mcc-kd"
    alpha: float = Field(0.1, ge=0, description="Weight of the symmetric KL divergence on the answer's tokens.")

    def check(self, config: "Pipeline") -> None:
        if any(teacher.endpoint.kind != "import" and teacher.samples < 2 for teacher in config.all_teachers):
            raise ValueError("methods: mcc-kd needs two rationales a question: set teacher.samples to 2 or more")


class Scott(MethodSettings):
    """Self-consistent training (Wang et al., 2023): the teacher's wrong rationales as counterfactual records."""

    kind: Literal["scott"] = "scott"
    alpha: float = Field(0.5, ge=0, description="Weight of the answers of counterfactual records.")

    def check(self, config: "Pipeline") -> None:
        if all(teacher.endpoint.kind == "scripted" and not teacher.endpoint.wrong for teacher in config.all_teachers):
            raise ValueError("methods: scott trains on wrong rationales too: set teacher.endpoint.wrong above 0")


class Specialized(MethodSettings):
    """Specialised students (Fu et al., 2023): each rationale in one of four formats, drawn anew each epoch."""

    kind: Literal["specialized"] = "specialized"
    shots: int = Field(2, ge=1, description="Worked questions in front of an in-context record.")
    in_context: Fraction = Field(0.5, description="Share of records with worked questions in front.")
    answer_only: Fraction = Field(0.5, description="Share of records that train the answer without a rationale.")

    def check(self, config: "Pipeline") -> None:
        if config.prompt.kind == "custom":
            raise ValueError("methods: specialized has prompts of its own: set prompt.kind to chat or cot")


Objective = Annotated[Eq15 | Icl | Acl | Spl | MccKd | Scott | Specialized, Field(discriminator="kind")]


class Variants(Strict):
    """Settings of the methods that KPOD is compared with, for those listed in `methods`."""

    icl: Icl = Icl()
    acl: Acl = Acl()
    spl: Spl = Spl()
    mcc_kd: MccKd = MccKd()
    scott: Scott = Scott()
    specialized: Specialized = Specialized()
