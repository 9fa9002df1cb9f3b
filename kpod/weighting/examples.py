"""Rationales as token ids, and the reasons why some cannot be used."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.answers.formats import strip_statement
from kpod.config import Form, Prompt
from kpod.errors import DataError
from kpod.text.formats import COT, PromptFormat, resolve
from kpod.text.tokens import Rationale, answer_ids, distinct, prompt_ids, rationale_ids, read_rationales, token_spans

Quarantined = tuple[tuple[str, int], str]  # key, reason


@dataclass(frozen=True)
class Example:
    """One rationale, tokenised; int32 ids. `prompt` and `answer` are in the predictor's vocabulary."""

    key: tuple[str, int]
    prompt: np.ndarray
    rationale: np.ndarray  # [n], the student's ids
    step: np.ndarray  # [n], non-decreasing
    answer: np.ndarray  # template words, answer, full stop, EOS
    visible: int  # tokens in front of a closing statement of the answer: all that a predictor may see

    @property
    def seed(self) -> int:
        """A number that depends on the key alone."""
        return zlib.crc32(f"{self.key[0]}\0{self.key[1]}".encode())

    @property
    def tokens(self) -> int:
        """Tokens of the whole sequence."""
        return len(self.prompt) + len(self.rationale) + len(self.answer)


def read(inputs: Mapping[str, Path]) -> tuple[list[Rationale], list[Quarantined]]:
    """Kept rationales with question and steps, and those that lack one; in the order of questions, then samples."""
    questions, texts, steps = (inputs[name] for name in ("questions", "rationales", "steps"))
    found = read_rationales(questions, texts, steps)
    order = {
        name: place
        for place, name in enumerate(schemas.read(questions / "questions.parquet", schemas.QUESTIONS)["id"].to_pylist())
    }
    found, copies = distinct(found)
    kept = {
        (row["question_id"], row["sample"])
        for row in schemas.read(texts / "rationales.parquet", schemas.RATIONALES).to_pylist()
        if row["kept"]
    }
    lost = kept - {rationale.key for rationale in found} - {key for key, _ in copies}
    reasons = copies + [(key, "no step" if key[0] in order else "no question of this id") for key in sorted(lost)]
    return sorted(found, key=lambda one: (order[one.question_id], one.sample)), reasons


def tokenise(
    rationales: Sequence[Rationale],
    student: PreTrainedTokenizerBase,
    max_tokens: int,
    predictor: PreTrainedTokenizerBase | None = None,
    positions: int | None = None,
    form: PromptFormat = COT,
    asked: PromptFormat | None = None,
) -> tuple[list[Example], list[Quarantined]]:
    """Examples in the order of `rationales`, and the keys that were dropped, with the reason.

    `form` is the student's, `asked` the one in which a predictor with a tokenizer of its own is asked.

    Dropped: no token, an answer with a token that the predictor does not know, more than `max_tokens` in all, or
    than the `positions` that the predictor has learnt.
    """
    reader, asked = predictor or student, asked or form
    texts = [one.text for one in rationales]
    tokens = rationale_ids(student, texts, [one.steps for one in rationales], form.lead)
    examples, dropped = [], []
    for one, (ids, step) in zip(rationales, tokens, strict=True):
        answer = answer_ids(reader, one.answer, asked)
        example = Example(
            key=one.key,
            prompt=np.asarray(prompt_ids(reader, one.question, one.choices, asked), dtype=np.int32),
            rationale=ids,
            step=step,
            answer=np.asarray(answer, dtype=np.int32),
            visible=_visible(student, one.text, len(ids), form),
        )
        if reason := _unusable(example, one.answer, reader, max_tokens, positions):
            dropped.append((one.key, reason))
        else:
            examples.append(example)
    return examples, dropped


def predictor_form(reader: PreTrainedTokenizerBase, form: Form) -> PromptFormat:
    """The form in which a predictor is asked: without a chat template of its own, the paper's."""
    plain = form.prompt.kind != "custom" and not reader.chat_template
    return resolve(reader, Form(prompt=Prompt(kind="cot"), answer=form.answer) if plain else form)


def template_length(tokenizer: PreTrainedTokenizerBase, form: PromptFormat = COT) -> int:
    """Leading tokens of `answer_ids` that are the template's words, whatever the answer: at least 1."""
    several = [answer_ids(tokenizer, answer, form) for answer in ("7", "x", "-1", "$2", "A", "(B)")]
    common = 0
    while len({tuple(ids[: common + 1]) for ids in several}) == 1:
        common += 1
    if not common:
        raise DataError(f"the predictor's tokenizer does not keep {form.answer.template!r} apart from its answer")
    return common


def _visible(student: PreTrainedTokenizerBase, text: str, tokens: int, form: PromptFormat) -> int:
    shown = strip_statement(form.answer, text)
    if shown == text.rstrip():
        return tokens
    [(_, spans)] = token_spans(student, [text], form.lead)
    return int((spans[:, 0] < len(shown)).sum())


def _unusable(
    example: Example, answer: str, reader: PreTrainedTokenizerBase, max_tokens: int, positions: int | None
) -> str | None:
    if not len(example.rationale):
        return "the rationale has no token"
    if not answer.strip() or (reader.unk_token_id is not None and reader.unk_token_id in example.answer):
        return "the answer cannot be encoded"
    if example.tokens > max_tokens:
        return f"{example.tokens} tokens, more than max_tokens {max_tokens}"
    if positions is not None and example.tokens > positions:
        return f"{example.tokens} tokens, the predictor has {positions} positions"
    return None
