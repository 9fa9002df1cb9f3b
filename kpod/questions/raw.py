"""One row as its source gives it, and what the pipeline makes of it."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpod.prompt import letter


class BadRow(ValueError):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Raw:
    """A row of any source: `fields` should hold id, question, answer and, for options, choices."""

    dataset: str
    split: str
    fields: Any

    @property
    def source(self) -> str:
        return f"{self.dataset}/{self.split}"

    @property
    def shown(self) -> str:
        """The row as text, for the quarantine file."""
        return json.dumps(self.fields, ensure_ascii=False, default=str)


def question_row(raw: Raw) -> dict[str, Any]:
    """A row of schemas.QUESTIONS. Raises BadRow if the id, the question or a usable answer is missing."""
    if not isinstance(raw.fields, Mapping):
        raise BadRow("not a JSON object")
    fields = {name: raw.fields.get(name) for name in ("id", "question", "answer", "choices")}
    row: dict[str, Any] = {"id": _text(fields["id"]), "dataset": raw.dataset, "split": raw.split}
    row["question"] = _text(fields["question"])
    if not row["id"]:
        raise BadRow("no id")
    if not row["question"]:
        raise BadRow("empty question")
    answer = _text(fields["answer"]).rpartition("####")[2].strip()  # GSM8K writes the solution before it
    if not answer:
        raise BadRow("no answer")
    row["choices"], row["answer"] = _options(fields["choices"], answer)
    return row


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | Mapping | list) or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 42.0 in a column of floats is 42
    return str(value).encode("utf-8", "replace").decode().strip()


def _options(choices: Any, answer: str) -> tuple[list[str] | None, str]:
    """Options as a list, and the answer as the letter of its place there; (None, answer) without options."""
    if not choices:
        return None, answer
    if isinstance(choices, Mapping) and {"label", "text"} == set(choices):
        labels, texts = list(choices["label"]), list(choices["text"])
    elif isinstance(choices, Mapping):  # letter -> text; a Parquet struct column adds the other rows' letters as null
        given = {label: text for label, text in choices.items() if text is not None}
        labels, texts = list(given), list(given.values())
    elif isinstance(choices, Sequence) and not isinstance(choices, str):
        labels, texts = [letter(i) for i in range(len(choices))], list(choices)
    else:
        raise BadRow("choices is neither a list nor letters with texts")
    texts = [_text(text) for text in texts]
    if not 2 <= len(texts) <= 26 or len(labels) != len(texts) or not all(texts):
        raise BadRow("needs 2 to 26 options, none of them empty")
    keys = [_text(label).casefold() for label in labels]
    plain = re.sub(r"^\(?(\w+)\)?[.:]?$", r"\1", answer).casefold()
    places = [i for i, key in enumerate(keys) if key == plain] or [
        i for i, text in enumerate(texts) if text.casefold() == answer.casefold()
    ]
    if len(places) != 1:
        raise BadRow("the answer is none of the options" if not places else "several options equal the answer")
    return texts, letter(places[0])
