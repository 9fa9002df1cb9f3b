"""A row as its source has it, and its conversion to a row of schemas.QUESTIONS."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kpod.answers.quantities import parse
from kpod.text.hygiene import well_formed
from kpod.text.prompts import letter

MOST_DIGITS = 100  # of a gold: what is longer is a fault in the file


class BadRow(ValueError):
    """A row cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Raw:
    """A row of any source: `fields` should hold id, question, answer and, for options, choices."""

    dataset: str
    split: str
    fields: Any

    @property
    def source(self) -> str:
        """`<dataset>/<split>`."""
        return f"{self.dataset}/{self.split}"

    @property
    def shown(self) -> str:
        """The row as text, for the quarantine file."""
        try:
            return well_formed(json.dumps(self.fields, ensure_ascii=False, default=str))
        except TypeError:  # keys that are no texts
            return well_formed(str(self.fields))


def question_row(raw: Raw) -> dict[str, Any]:
    """Convert to a row of schemas.QUESTIONS: texts stripped, numbers as digits, the answer of options as a letter.

    Raises BadRow if the id, the question or a usable answer is missing, or the options are not 2 to 26 texts.
    """
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
    """A value as text; "" for what is none or no number (null, NaN, infinity, a list)."""
    if isinstance(value, bytes):
        raise BadRow("a text is not UTF-8")
    if isinstance(value, float | Decimal):
        return _number(value)
    if value is None or isinstance(value, bool | Mapping | list | tuple | set):
        return ""
    return well_formed(str(value)).strip()


def _number(value: float | Decimal) -> str:
    """Digits without exponent and trailing zeros: 42.0 is "42", 1e-07 is "0.0000001"; "" for NaN and infinity."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not exact.is_finite():
        return ""
    if abs(exact.adjusted()) > MOST_DIGITS:
        raise BadRow("a number is too long")
    plain = f"{exact:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _options(choices: Any, answer: str) -> tuple[list[str] | None, str]:
    """Options as a list, and the answer as the letter of its place there; (None, answer) without options."""
    if not choices:
        return None, answer
    if isinstance(choices, Mapping) and {"label", "text"} == set(choices):
        labels, texts = list(choices["label"]), list(choices["text"])
    elif isinstance(choices, Mapping):  # letter -> text; a Parquet struct column adds the other rows' letters as null
        options = {label: text for label, text in choices.items() if text is not None}
        labels, texts = list(options), list(options.values())
    elif isinstance(choices, Sequence) and not isinstance(choices, str | bytes):
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


def kind_of(row: Mapping[str, Any]) -> str:
    """The kind of answer of a row of schemas.QUESTIONS: options, numbers or texts."""
    return "options" if row["choices"] else "numbers" if parse(row["answer"]) else "texts"
