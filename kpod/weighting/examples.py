"""Tokenised rationales for the weighter and the answer predictor."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from kpod import schemas
from kpod.config import Form, Prompt
from kpod.errors import DataError
from kpod.text.chat import resolve
from kpod.text.formats import COT, PromptFormat
from kpod.text.groups import Key
from kpod.text.table import Column, TokenRows, Tokens
from kpod.training.examples import Positions, reject, within


@dataclass(frozen=True)
class Example:
    """One tokenised rationale; all arrays are int32."""

    key: Key
    prompt: np.ndarray  # in the predictor's vocabulary
    rationale: np.ndarray  # [n], in the student's vocabulary
    step: np.ndarray  # [n], non-decreasing
    answer: np.ndarray  # in the predictor's vocabulary: template words, answer, full stop, EOS
    visible: int  # number of tokens before a closing statement of the answer, which the predictor must not see

    @property
    def seed(self) -> int:
        """A number that depends only on the key."""
        return zlib.crc32(f"{self.key[0]}\0{self.key[1]}".encode())

    @property
    def tokens(self) -> int:
        """Tokens of prompt, rationale and answer."""
        return len(self.prompt) + len(self.rationale) + len(self.answer)


class Examples(TokenRows[Example]):
    """Rows of a table of tokens, whose prompts and answers are in the predictor's vocabulary."""

    def row(self, number: int) -> Example:
        tokens = self.tokens
        return Example(
            key=tokens.keys[number],
            prompt=tokens.prompt[number],
            rationale=tokens.rationale[number],
            step=tokens.step[number],
            answer=tokens.answer[number],
            visible=int(tokens.visible[number]),
        )

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each rationale, int64 [n]."""
        return self.tokens.rationale.size[self.rows]


def usable(
    tokens: Tokens, max_tokens: int, positions: Positions | None = None, unknown: int | None = None
) -> tuple[Examples, list[dict[str, str]]]:
    """The usable examples in the order of `tokens`, and rows of `schemas.QUARANTINE` for the others.

    Unusable: an answer with the token `unknown`, a row longer than `max_tokens`, or than the predictor's `positions`.
    """
    rows, strange = np.arange(len(tokens)), np.zeros(len(tokens), dtype=bool)
    if unknown is not None:
        strange[np.repeat(rows, tokens.answer.size)[tokens.answer.flat(rows) == unknown]] = True
    fitting, long = within(Examples(tokens, rows[~strange]), max_tokens, positions)
    return fitting, [reject(tokens.keys[row], "the answer cannot be encoded") for row in rows[strange]] + long


def with_segments(tokens: Tokens, reader: PreTrainedTokenizerBase, form: PromptFormat, questions: Path) -> Tokens:
    """`tokens` with prompts and answers in the vocabulary of `reader`, the predictor's tokenizer.

    `questions`: the folder of that stage. The samples of a question share its ids.
    """
    names = ("id", "question", "answer", "choices")
    table = schemas.read(questions / "questions.parquet", schemas.QUESTIONS, names)
    rows = pc.index_in(tokens.keys.names, value_set=table["id"].combine_chunks())
    columns = table.take(rows).select(names[1:]).to_pydict()
    prompts = form.prompts_ids(reader, list(zip(columns["question"], columns["choices"], strict=True)))
    answers = form.answers_ids(reader, columns["answer"])
    prompt, answer = (Column.of(ids).take(tokens.keys.code) for ids in (prompts, answers))
    return tokens.replaced(prompt=prompt, answer=answer)


def texts_of(rationales: Path, examples: Examples) -> pa.Array:
    """The text of each example's rationale, large_string [n], from the folder of the stage `rationales`.

    Raises DataError if one is missing.
    """
    texts = [pa.array([], pa.large_string())]
    place_of = np.full(len(examples.tokens), -1)
    place_of[examples.rows] = np.arange(len(examples))
    places = []
    for batch in schemas.batches(
        rationales / "rationales.parquet", schemas.RATIONALES, ("question_id", "sample", "rationale", "kept")
    ):
        kept = batch.filter(batch["kept"])
        rows = examples.tokens.keys.find(kept["question_id"], kept["sample"].to_numpy())
        place = np.where(rows >= 0, place_of[rows], -1)
        texts.append(kept["rationale"].filter(pa.array(place >= 0)).cast(pa.large_string()).combine_chunks())
        places.append(place[place >= 0])
    there, first = np.unique(np.concatenate([np.zeros(0, np.int64), *places]), return_index=True)
    if len(there) < len(examples):
        raise DataError(f"{rationales} lacks rationales that were tokenised: rerun the stage tokens")
    return pa.concat_arrays(texts).take(pa.array(first))


def predictor_form(reader: PreTrainedTokenizerBase, form: Form) -> PromptFormat:
    """The prompt format of a predictor: the paper's if its tokenizer has no chat template."""
    plain = form.prompt.kind != "custom" and not reader.chat_template
    return resolve(reader, Form(prompt=Prompt(kind="cot"), answer=form.answer) if plain else form)


def template_length(tokenizer: PreTrainedTokenizerBase, form: PromptFormat = COT) -> int:
    """Number of leading tokens of `answer_ids` that are the same for all answers, at least 1. Raises DataError."""
    several = form.answers_ids(tokenizer, ("7", "x", "-1", "$2", "A", "(B)"))
    common = 0
    while len({tuple(ids[: common + 1]) for ids in several}) == 1:
        common += 1
    if not common:
        raise DataError(f"the predictor's tokenizer does not keep {form.answer.template!r} apart from its answer")
    return common
