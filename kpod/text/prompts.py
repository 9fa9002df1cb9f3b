"""The words of prompts and answers (paper, section 3.1).

`Q: <question> A: Let's think step by step. <rationale> Therefore, the answer is <answer>.`
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

ANSWER_WORDS = "Therefore, the answer is"


def question_text(question: str, choices: Sequence[str] | None = None) -> str:
    """The question, followed by its options with letters from (A)."""
    if not choices:
        return question.strip()
    options = " ".join(f"({letter(i)}) {choice}" for i, choice in enumerate(choices))
    return f"{question.strip()} Answer choices: {options}"


def letter(index: int) -> str:
    """The letter of an option: 0 is A."""
    return chr(ord("A") + index)


def prompt(question: str, choices: Sequence[str] | None = None) -> str:
    """The prompt in the paper's form."""
    return f"{direct_prompt(question, choices)} Let's think step by step."


def direct_prompt(question: str, choices: Sequence[str] | None = None) -> str:
    """The prompt for an answer without a rationale, as the method `specialized` uses it."""
    return f"Q: {question_text(question, choices)} A:"


@dataclass(frozen=True)
class AnswerFormat:
    """The statement of an answer after a rationale, by the student (`template`) and by the teacher (`wording`)."""

    kind: str = "sentence"
    template: str = f" {ANSWER_WORDS} {{answer}}."  # begins with the white space behind the rationale
    wording: str = "The answer is {answer}."

    def statement(self, answer: str) -> str:
        """The statement of an answer, with the white space before it."""
        return self._filled(self.template, answer.strip())

    def example(self, answer: str) -> str:
        """The statement of an answer in a few-shot example of the teacher."""
        return self._filled(self.wording, answer.strip())

    @property
    def instruction(self) -> str:
        """The instruction in the teacher's system prompt."""
        form = self._filled(self.wording, "<answer>")
        return (
            f"Close with the sentence: {form}" if self.kind == "sentence" else f"Close with a line of this form: {form}"
        )

    def _filled(self, template: str, answer: str) -> str:
        value = json.dumps(answer, ensure_ascii=False) if self.kind == "json" else answer
        return template.replace("{answer}", value)


SENTENCE = AnswerFormat()
_FORMS = {"boxed": r"\boxed{{answer}}", "hashes": "#### {answer}", "json": '{"answer": {answer}}'}
_SEPARATORS = {"boxed": " ", "hashes": "\n", "json": "\n"}


def answer_format(kind: str, template: str | None = None) -> AnswerFormat:
    """The answer format of `answer.kind`, with `answer.template` for the kind `template`."""
    if kind == "sentence":
        return SENTENCE
    wording = _FORMS[kind] if template is None else template
    separator = _SEPARATORS.get(kind, "" if wording[:1].isspace() else " ")
    return AnswerFormat(kind, separator + wording, wording.strip())
