"""Settings of the verifier that judges answers: one setting for the teacher's replies, validation and evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from kpod.fields import Fraction, Strict, code


class NumberVerifier(Strict):
    """The stated number, else the last one, compared exactly (`kpod.evaluate.answers_equal`)."""

    kind: Literal["number"] = "number"


class ChoiceVerifier(Strict):
    """The letter of the chosen option."""

    kind: Literal["choice"] = "choice"


class MathVerifier(Strict):
    """The library math-verify: LaTeX, sets, intervals and expressions by their value. Runs in a process of its own."""

    kind: Literal["math"] = "math"
    timeout_s: float = Field(10.0, gt=0, description="Seconds an answer may take; beyond, its row is bad.")


class TextVerifier(Strict):
    """The stated words, compared without case, punctuation and articles."""

    kind: Literal["text"] = "text"
    aliases: dict[str, list[str]] = Field(
        default_factory=dict, description="Further right answers by gold answer, e.g. {USA: [United States, America]}."
    )
    min_f1: Fraction | None = Field(
        None, description="Right from this F1 of the words on; null: only if all words are the same."
    )


class PythonVerifier(Strict):
    """A function of yours, in worker processes: `(question: str, completion: str, gold: str) -> bool | float`."""

    kind: Literal["python"] = "python"
    function: str = code(
        "package.module:function, importable from here; its module's source is part of the cache key.",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
    )
    right_from: Fraction = Field(0.5, description="A number counts as right from here on.")
    timeout_s: float = Field(10.0, gt=0, description="Seconds an answer may take; beyond, its row is bad.")


Verifier = Annotated[
    NumberVerifier | ChoiceVerifier | MathVerifier | TextVerifier | PythonVerifier, Field(discriminator="kind")
]
