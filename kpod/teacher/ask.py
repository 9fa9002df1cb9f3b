"""Requests to the teacher: the body for a question and a sample, and the content key of its answer in the journal."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpod.config import Teacher, TeacherPrompt
from kpod.errors import ConfigError, DataError
from kpod.questions import rows
from kpod.text.prompts import AnswerFormat, answer_format, question_text

AROUND = 16  # bytes (so at most tokens) that a chat template puts around a message
ROUTES = {"chat": "/chat/completions", "completion": "/completions"}


@dataclass(frozen=True, slots=True)
class Question:
    """The columns of schemas.QUESTIONS that the teacher needs."""

    id: str
    question: str
    answer: str
    choices: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One request."""

    question: Question
    sample: int
    key: str  # hex sha256
    body: dict[str, Any]  # JSON
    size: int  # bytes of the prompt, an upper bound of its tokens


class RequestBuilder:
    """Builds requests from the settings; the same settings and question always give the same key."""

    def __init__(self, config: Teacher, identity: str = "") -> None:
        """`identity` distinguishes teachers with the same model name. Raises ConfigError on unusable examples."""
        self._config, self._identity = config, identity
        self._examples = _examples(config.prompt, answer_format(config.answer.kind, config.answer.template))
        self.route = ROUTES[config.prompt.api]

    def ask(self, question: Question, sample: int) -> TeacherRequest:
        """The request for one sample of a question.

        The key covers model, prompt, sampling settings and sample number. It does not cover the address, the position
        of the row and the name of the token limit's field, so answers in the journal stay valid when those change.
        """
        config = self._config
        question_sent = config.prompt.template.replace("{question}", question_text(question.question, question.choices))
        prompt: str | list[Mapping[str, str]]
        if config.prompt.api == "chat":
            field, prompt = "messages", _chat(config.prompt, self._examples, question_sent)
            texts = [message["content"] for message in prompt]
        else:
            field, prompt = "prompt", _plain(config.prompt, self._examples, question_sent)
            texts = [prompt]
        settings = {"temperature": config.temperature, "top_p": config.top_p, "stop": config.prompt.stop or None}
        sampling = {name: value for name, value in settings.items() if value is not None} | config.extra_body
        content = [self._identity, config.model, prompt, sampling, config.max_tokens, sample]
        body = {
            "model": config.model,
            field: prompt,
            **sampling,
            config.max_tokens_field: config.max_tokens,
            **({"seed": sample} if config.send_seed else {}),
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        size = sum(len(text.encode()) + AROUND for text in texts)
        return TeacherRequest(question, sample, key, body, size)


def _examples(prompt: TeacherPrompt, form: AnswerFormat) -> list[tuple[str, str]]:
    """(question as shown, reply) of each few-shot example."""
    if prompt.examples is None:
        return []
    examples = []
    try:
        for number, row in rows.read(prompt.examples):
            if isinstance(row, str) or not all(
                isinstance(row.get(k), str) for k in ("question", "rationale", "answer")
            ):
                raise ConfigError(f"teacher.prompt.examples: row {number} needs question, rationale and answer")
            shown = prompt.template.replace("{question}", question_text(row["question"], row.get("choices")))
            examples.append((shown, f"{row['rationale'].strip()} {form.example(row['answer'])}"))
    except DataError as error:
        raise ConfigError(f"teacher.prompt.examples: {error}") from error
    return examples


def _chat(prompt: TeacherPrompt, examples: list[tuple[str, str]], question_sent: str) -> list[Mapping[str, str]]:
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for shown, reply in examples:
        messages += [{"role": "user", "content": shown}, {"role": "assistant", "content": reply}]
    return [*messages, {"role": "user", "content": question_sent}]


def _plain(prompt: TeacherPrompt, examples: list[tuple[str, str]], question_sent: str) -> str:
    parts = [prompt.system] if prompt.system else []
    return "\n\n".join([*parts, *(f"{shown} {reply}" for shown, reply in examples), question_sent])
