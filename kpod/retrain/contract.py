"""The data contract of new questions: malformed and poisoned rows and prompt injections are refused."""

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from kpod.config.retrain import Contract
from kpod.questions.raw import kind_of

MIN_CHARS, MAX_ANSWER_CHARS = 10, 200  # of a question and of an answer

# Control tokens of chat templates and tokenizers; no genuine question contains them.
_MARKS = re.compile(r"<\|[^|>]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?think>", re.IGNORECASE)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.?!]{0,40}\b(?:previous|prior|above|earlier|your)\b[^.?!]{0,40}"
    r"\b(?:instruction|prompt|rule|message|order)s?\b|\bsystem prompt\b",
    re.IGNORECASE,
)


def violation(row: dict[str, Any], contract: Contract, kinds: Collection[str]) -> str | None:
    """The reason why a row of schemas.QUESTIONS breaks the contract, or None; `kinds`: accepted kinds of answers."""
    text = "\n".join([row["question"], *(row["choices"] or ())])
    if len(row["question"]) < MIN_CHARS:
        return f"the question is shorter than {MIN_CHARS} characters"
    if len(text) > contract.max_chars:
        return f"the question is longer than {contract.max_chars} characters"
    if len(row["answer"]) > MAX_ANSWER_CHARS:
        return f"the answer is longer than {MAX_ANSWER_CHARS} characters"
    whole = f"{row['id']}\n{text}\n{row['answer']}"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Co") and char not in "\n\t\r" for char in whole):
        return "holds control characters"
    if mark := _MARKS.search(whole):
        return f"holds a model's control mark ({mark.group()})"
    if _ORDERS.search(whole):
        return "gives the model orders (prompt injection)"
    if kind_of(row) not in kinds:
        return f"the answer is of the kind {kind_of(row)}, the set has {', '.join(sorted(kinds))}"
    return None
