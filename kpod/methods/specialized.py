"""Specialised students (Fu et al., 2023): correct rationales in a mixture of four formats.

The formats are {in-context, zero-shot} x {rationale and answer, answer only}. Under a chat template the worked
questions are earlier turns, and a question to be answered at once says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from kpod import observe
from kpod.config import Distill
from kpod.config.methods import Specialized
from kpod.errors import ConfigError, DataError
from kpod.methods.base import Objective, StudentData
from kpod.text.prompts import direct_prompt, prompt, question_text
from kpod.text.rationales import Rationale
from kpod.text.tokens import input_ids
from kpod.training.examples import Example, Examples, Key, example, within
from kpod.training.passes import Unit
from kpod.training.turns import Turns

AT_ONCE = "Answer at once, without reasoning."
SHOTS, DIRECT = "in-context ", "answer"  # a form is a join of these, "" the plain one


class Formats(Objective):
    """One rationale of each question an epoch, in turn, in a format drawn by (seed, epoch)."""

    def __init__(self, rows: Examples, schedule: np.ndarray, config: Distill) -> None:
        super().__init__(rows, schedule, config)
        self.settings = cast(Specialized, config.objective)
        forms: dict[Key, dict[str, int]] = {}
        for index, row in enumerate(rows):
            forms.setdefault(row.key, {})[row.form] = index
        self.forms = list(forms.values())  # of each rationale: form -> row
        self.turns = Turns(rows.questions[[next(iter(found.values())) for found in self.forms]])

    @classmethod
    def make_examples(cls, data: StudentData, config: Distill) -> Examples:
        if data.form.kind == "custom":
            raise ConfigError("methods: specialized has prompts of its own: set prompt.kind to chat or cot")
        plain = sorted(data.correct, key=lambda row: row.key)
        settings = cast(Specialized, config.objective)
        if len({row.key[0] for row in plain}) <= settings.shots:
            raise DataError(
                f"specialized: variants.specialized.shots {settings.shots} needs right answers to more questions"
            )
        generator = np.random.default_rng([config.seed, 3])
        keys = [row.key for row in plain]
        examples: list[Example] = []
        for row in plain:
            shots = _shots(keys, row.key, settings.shots, generator)
            examples += other_formats(data, row, [data.rationales[key] for key in shots])
        fitting, long = within(Examples.of(plain + examples), config.max_tokens)
        if long:
            observe.warning(
                f"specialized: {len(long)} in-context records are longer than {config.max_tokens} tokens;"
                " their rationales stay without worked questions"
            )
        return fitting

    def units(self, epoch: int) -> list[Unit]:
        generator = np.random.default_rng([self.config.seed, epoch, 4])
        chosen = [self.forms[rationale] for rationale in self.turns.rows(epoch)]
        draws = generator.random((len(chosen), 2)) < [self.settings.in_context, self.settings.answer_only]
        units: list[Unit] = []
        for forms, (in_context, direct) in zip(chosen, draws, strict=True):
            form = DIRECT if direct else ""
            units.append((forms[SHOTS + form if in_context and SHOTS + form in forms else form],))
        return units


def other_formats(data: StudentData, plain: Example, shots: Sequence[Rationale]) -> list[Example]:
    """The three other formats of an example; `shots` are the worked questions of the in-context ones.

    In-context formats are left out if one of their texts holds a special token of a chat template.
    """
    rationale = data.rationales[plain.key]
    answer = data.form.answer_ids(data.tokenizer, rationale.answer)
    prompts = (_chat if data.form.kind == "chat" else _paper)(data, rationale, shots)
    return [
        replace(plain, form=form, prompt=np.asarray(ids, dtype=np.int32))
        if form == SHOTS
        else replace(example(plain.key, ids, [], answer), form=form)
        for form, ids in prompts.items()
        if ids is not None
    ]


def _paper(data: StudentData, rationale: Rationale, shots: Sequence[Rationale]) -> dict[str, list[int] | None]:
    """Ids of the prompts by format, in the paper's form."""
    statement = data.form.answer.statement
    question, step_by_step = (words(rationale.question, rationale.choices) for words in (direct_prompt, prompt))
    answers = "".join(f"{direct_prompt(shot.question, shot.choices)}{statement(shot.answer)}\n" for shot in shots)
    workings = "".join(f"{prompt(shot.question, shot.choices)} {shot.text}{statement(shot.answer)}\n" for shot in shots)
    texts = {DIRECT: question, SHOTS + DIRECT: answers + question, SHOTS: workings + step_by_step}
    return {form: input_ids(data.tokenizer, text) for form, text in texts.items()}


def _chat(data: StudentData, rationale: Rationale, shots: Sequence[Rationale]) -> dict[str, list[int] | None]:
    """Ids of the prompts by format, as a dialogue."""
    form, tokenizer = data.form, data.tokenizer
    question = question_text(rationale.question, rationale.choices)
    texts = [question_text(shot.question, shot.choices) for shot in shots]
    stated = [form.answer.statement(shot.answer) for shot in shots]
    answers = [(f"{text}\n{AT_ONCE}", statement.strip()) for text, statement in zip(texts, stated, strict=True)]
    workings = [(text, f"{shot.text}{statement}") for text, shot, statement in zip(texts, shots, stated, strict=True)]
    return {
        DIRECT: form.prompt_ids(tokenizer, f"{question}\n{AT_ONCE}"),
        SHOTS + DIRECT: form.dialogue_ids(tokenizer, answers, f"{question}\n{AT_ONCE}"),
        SHOTS: form.dialogue_ids(tokenizer, workings, question),
    }


def _shots(keys: Sequence[Key], key: Key, count: int, generator: np.random.Generator) -> list[Key]:
    """Keys of `count` rationales of questions other than that of `key`, one a question."""
    keys_of: dict[str, Key] = {}
    for index in generator.permutation(len(keys)):
        other = keys[index]
        if other[0] != key[0]:
            keys_of.setdefault(other[0], other)
        if len(keys_of) == count:
            break
    return list(keys_of.values())
