"""Settings of the stage `questions`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod.fields import NAME, Seed, Split, Strict

EXAMPLE = {"kind": "file", "dataset": "mine", "files": {"train": "train.jsonl", "test": "test.jsonl"}}


Family = Literal["stories", "mixed"]


class WordProblems(Strict):
    """Generated multi-step arithmetic word problems, and two sets out of distribution: longer and harder ones."""

    kind: Literal["wordproblems"] = "wordproblems"
    family: Family = Field(
        "stories",
        description="stories: one person, short sentences in order, +, - and x; mixed: also divisions, comparisons of "
        "people, closing sentences, and sentences in any order.",
    )
    train: int = Field(1000, ge=1, description="Training questions.")
    validation: int = Field(200, ge=0, description="Validation questions.")
    test: int = Field(800, ge=0, description="Test questions.")
    longer: int = Field(400, ge=0, description="Test questions of the out-of-distribution set of longer problems.")
    longer_by: Literal["steps", "words"] = Field(
        "steps",
        description="steps: more operations than any training question; words, for stories: as many operations, in "
        "longer sentences than any in training: half of the events also say where or when.",
    )
    harder: int = Field(0, ge=0, description="Test questions of the out-of-distribution set of harder problems.")
    harder_by: Literal["family", "names"] = Field(
        "family",
        description="family: the family mixed; names: stories of people and things that no training question names.",
    )
    min_steps: int = Field(2, ge=1, description="Fewest operations a problem needs.")
    max_steps: int = Field(4, ge=1, description="Most operations a problem needs, in distribution.")
    longer_steps: int = Field(6, ge=1, description="Most operations in the set that is longer by steps.")
    seed: Seed = 0

    @property
    def dataset(self) -> str:
        """Name of the set in tables and of its registered model."""
        return self.kind

    @property
    def held(self) -> set[Split]:
        """The splits of this source."""
        sizes: dict[Split, int] = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split for split, size in sizes.items() if size}

    @property
    def shifted(self) -> dict[str, str]:
        """The sets out of distribution and in what they differ from training."""
        longer = {"steps": "more steps than any training question", "words": "longer sentences than any in training"}
        harder = {"family": "comparisons, divisions, any order", "names": "people and things not named in training"}
        sets = [("longer", self.longer, longer[self.longer_by]), ("harder", self.harder, harder[self.harder_by])]
        return {f"{self.dataset}-{name}": words for name, count, words in sets if count}

    @model_validator(mode="after")
    def _steps_grow(self) -> "WordProblems":
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps must not be above max_steps")
        if self.longer and self.longer_by == "steps" and self.longer_steps <= self.max_steps:
            raise ValueError("longer_steps must be above max_steps, or longer 0")
        if self.longer and self.longer_by == "words" and self.family != "stories":
            raise ValueError("longer_by: words is for the family stories")
        if self.harder and self.family == "mixed":
            raise ValueError("harder must be 0 if family is mixed: the harder sets are harder than the family stories")
        return self


class Columns(Strict):
    """Names of the columns; a dot leads into a nested column (`doc.question`)."""

    question: str = Field(min_length=1, description="Column of the question's text.")
    answer: str = Field(
        min_length=1, description="The gold answer, the option's letter, its text, or its place (from 0)."
    )
    choices: str | None = Field(None, description="A list of options, letters with texts, or {label, text}.")
    id: str | None = Field(None, description="Default: the set's name, the split and the row's number.")


class QuestionFile(Strict):
    """A user's questions: JSONL (optionally .gz) or Parquet with id, question, answer and optionally choices."""

    kind: Literal["file"] = "file"
    dataset: str = Field(
        pattern=NAME,
        description="Name of the set in tables and of its registered model.",
    )
    files: dict[Split, Path] = Field(description="One file a split.", min_length=1)
    columns: Columns | None = Field(None, description="Where questions and answers stand, if under other names.")
    limit: dict[Split, int] = Field(
        default_factory=dict, description="Use only the first questions of a split, e.g. {train: 500}."
    )

    @property
    def held(self) -> set[Split]:
        """The splits of this source."""
        return set(self.files)


# The splits of the public sets that are known by name; all three where nothing else is said.
HUB_SETS: dict[str, tuple[Split, ...]] = {
    **dict.fromkeys(["gsm8k", "asdiv", "svamp", "commonsenseqa", "math", "mawps"], ("train", "validation", "test")),
    **dict.fromkeys(["multiarith", "strategyqa", "arc-easy", "arc-challenge", "aqua"], ("train", "validation", "test")),
    "math-500": ("test",),
}


MATH_SETS = ("math", "math-500")  # whose answers are LaTeX
OPTION_SETS = ("commonsenseqa", "arc-easy", "arc-challenge", "aqua")


class QuestionHub(Strict):
    """A public set, loaded from the Hugging Face hub with `datasets`: one that is known by name, cut into the paper's
    splits (Table 4) or the official ones, or any other by `path` and `columns`.
    """

    kind: Literal["hub"] = "hub"
    dataset: str = Field(pattern=NAME, description=f"One of {', '.join(HUB_SETS)}; with `path` a name of your own.")
    path: str | None = Field(None, description="ORG/NAME on the hub, for a set that is not known by name.")
    name: str | None = Field(None, description="Its configuration, if it has several.")
    columns: Columns | None = Field(None, description="Its columns; needed with `path`.")
    parts: dict[Split, str] = Field(
        default_factory=dict,
        description="The set's split for each of kpod's, e.g. {train: train, test: validation}.",
    )
    revision: str = Field("main", description="Hub revision; pin a commit for reproducible runs.")
    splits: list[Split] = Field(
        ["train", "validation", "test"], min_length=1, description="Splits to use, where the set has them."
    )
    limit: dict[Split, int] = Field(
        default_factory=dict, description="Use only the first questions of a split, e.g. {train: 500}."
    )

    @property
    def held(self) -> set[Split]:
        """The splits of this source."""
        return set(self.splits) & set(self.parts if self.path else HUB_SETS[self.dataset])

    @model_validator(mode="after")
    def _known_or_described(self) -> "QuestionHub":
        if self.path is None:
            if self.dataset not in HUB_SETS:
                raise ValueError(
                    f"{self.dataset} is not known by name ({', '.join(HUB_SETS)}): give path, columns and parts"
                )
            if self.columns or self.parts or self.name:
                raise ValueError(
                    f"{self.dataset} is known by name: path is missing, or take columns, parts and name out"
                )
        elif self.columns is None or not self.parts:
            raise ValueError("path needs columns {question, answer} and parts, e.g. {train: train, test: test}")
        if not self.held:
            raise ValueError(f"{self.dataset} has none of the splits {', '.join(self.splits)}")
        return self


Source = Annotated[WordProblems | QuestionFile | QuestionHub, Field(discriminator="kind")]


class Questions(Strict):
    """Where questions come from; the first source names the registered student."""

    sources: list[Source] = Field(
        min_length=1, examples=[[EXAMPLE]], description="Sets of questions, each from files, the hub or a generator."
    )
