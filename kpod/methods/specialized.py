"""Specialised students (Fu et al., 2023): right rationales in four formats, so that none is forgotten.

The formats are {worked questions in front, none} x {rationale and answer, answer only}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import Field

from kpod import observe
from kpod.errors import ConfigError, DataError
from kpod.fields import Fraction, MethodSettings
from kpod.methods.base import Objective, Told, method
from kpod.text.prompts import direct_prompt, prompt

if TYPE_CHECKING:
    from kpod.config import Distill, Pipeline
    from kpod.text.tokens import Rationale
    from kpod.training.examples import Example, Key
    from kpod.training.passes import Unit


class Specialized(MethodSettings):
    """Specialised students (Fu et al., 2023): each rationale in one of four formats, drawn anew each epoch."""

    kind: Literal["specialized"] = "specialized"
    shots: int = Field(2, ge=1, description="Worked questions in front of an in-context record.")
    in_context: Fraction = Field(0.5, description="Share of records with worked questions in front.")
    answer_only: Fraction = Field(0.5, description="Share of records that train the answer without a rationale.")

    def check(self, config: Pipeline) -> None:
        if config.prompt.kind in ("chat", "custom"):
            raise ValueError(f"methods: specialized mixes the paper's prompts: {ONLY_COT}")


ONLY_COT = "set prompt.kind: cot"
SHOTS, DIRECT = "in-context ", "answer"  # a form is a join of these, "" the plain one


@method(Specialized)
class Formats(Objective):
    """One rationale of each question an epoch, in turn, in a format drawn from (seed, epoch)."""

    def __init__(self, rows: Sequence[Example], given: np.ndarray, config: Distill) -> None:
        from kpod.training.turns import Turns

        super().__init__(rows, given, config)
        self.settings = cast(Specialized, config.objective)
        self.forms: dict[Key, dict[str, int]] = {}
        for index, row in enumerate(rows):
            self.forms.setdefault(row.key, {})[row.form] = index
        self.of_row = list(self.forms.values())
        self.turns = Turns([question for question, _ in self.forms])

    @classmethod
    def records(cls, told: Told, config: Distill) -> tuple[list[Example], list[dict[str, str]]]:
        if told.form.kind != "cot":
            raise ConfigError(
                f"specialized mixes the paper's prompts and is no method for {told.form.kind}: {ONLY_COT}"
            )
        plain = sorted(told.right, key=lambda one: one.key)
        settings = cast(Specialized, config.objective)
        if len({one.key[0] for one in plain}) <= settings.shots:
            raise DataError(f"specialized: {settings.shots} worked questions and one more need as many right answers")
        generator = np.random.default_rng([config.seed, 3])
        made: list[Example] = []
        for one in plain:
            shots = _shots([other.key for other in plain], one.key, settings.shots, generator)
            made += records_of(told, one, [told.rationales[key] for key in shots])
        fitting = [one for one in made if one.tokens <= config.max_tokens]
        if len(fitting) < len(made):
            observe.warning(
                f"specialized: {len(made) - len(fitting)} in-context records are longer than"
                f" {config.max_tokens} tokens; their rationales stay without worked questions"
            )
        return plain + fitting, []

    def units(self, epoch: int) -> list[Unit]:
        generator = np.random.default_rng([self.config.seed, epoch, 4])
        chosen = [self.of_row[row] for row in self.turns.rows(epoch)]
        draws = generator.random((len(chosen), 2)) < [self.settings.in_context, self.settings.answer_only]
        units: list[Unit] = []
        for forms, (in_context, direct) in zip(chosen, draws, strict=True):
            rest = DIRECT if direct else ""
            shown = SHOTS + rest
            units.append((forms[shown if in_context and shown in forms else rest],))
        return units


def records_of(told: Told, plain: Example, shots: Sequence[Rationale]) -> list[Example]:
    """The three further formats of a row; `shots` stand in front of the in-context ones."""
    from kpod.text.tokens import answer_ids, input_ids
    from kpod.training.examples import example

    mine, tokenizer = told.rationales[plain.key], told.tokenizer
    answer, stated = answer_ids(tokenizer, mine.answer, told.form), told.form.answer.statement
    asked, thought = direct_prompt(mine.question, mine.choices), prompt(mine.question, mine.choices)
    answers, workings = (
        "".join(
            f"{ask(shot.question, shot.choices)}{f' {shot.text}' if told_how else ''}{stated(shot.answer)}\n"
            for shot in shots
        )
        for ask, told_how in ((direct_prompt, False), (prompt, True))
    )
    direct = example(plain.key, input_ids(tokenizer, asked), [], answer)
    return [
        replace(direct, form=DIRECT),
        replace(direct, form=SHOTS + DIRECT, prompt=np.asarray(input_ids(tokenizer, answers + asked), np.int32)),
        replace(plain, form=SHOTS, prompt=np.asarray(input_ids(tokenizer, workings + thought), np.int32)),
    ]


def _shots(keys: Sequence[Key], mine: Key, count: int, generator: np.random.Generator) -> list[Key]:
    """Keys of `count` rationales of other questions, one a question."""
    found: dict[str, Key] = {}
    for index in generator.permutation(len(keys)):
        key = keys[index]
        if key[0] != mine[0]:
            found.setdefault(key[0], key)
        if len(found) == count:
            break
    return list(found.values())
