"""What a teacher answered, read from a completion object of any provider."""

import math
import re
from dataclasses import dataclass
from typing import Any

THOUGHT = re.compile(r"^\s*<(think|thinking|thought|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
HEADLESS = re.compile(r"^(.*?)</(?:think|thinking)>", re.DOTALL | re.IGNORECASE)  # the template gave the opening tag


class BadReply(Exception):
    """The server said 200, but the body is no completion. Worth another try."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished request. `estimated`: the server did not count tokens, so they were estimated."""

    text: str
    thinking: str | None
    refused: bool
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    model: str

    def record(self) -> dict[str, Any]:
        """As a row of the journal."""
        return {name: getattr(self, name) for name in self.__slots__}


def parse(payload: Any, size: int, model: str) -> Reply:
    """Read a chat or text completion; `size` is the prompt's length in bytes. Raises BadReply."""
    try:
        choice = payload["choices"][0]
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        content, refusal = message.get("content"), message.get("refusal")
        if isinstance(content, list):  # content parts
            content = "".join(part.get("text", "") for part in content)
        if not isinstance(content, str | None):
            raise TypeError("content is no text")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadReply("the body is no completion") from error
    thinking = message.get("reasoning_content") or message.get("reasoning")
    text, tagged = _untag(content or "")
    reason = str(choice.get("finish_reason") or "stop")
    prompt, completion = _tokens(payload.get("usage"))
    estimated = prompt is None or completion is None
    said = len((content or "").encode()) + len(str(thinking or "").encode())
    return Reply(
        text=text if text or not refusal else str(refusal),
        thinking=str(thinking).strip() if thinking else tagged,
        refused=bool(refusal) or reason == "content_filter",
        finish_reason=reason,
        prompt_tokens=estimate(size) if prompt is None else prompt,
        completion_tokens=estimate(said) if completion is None else completion,
        estimated=estimated,
        model=str(payload.get("model") or model),
    )


def estimate(size: int) -> int:
    """Tokens in a text of `size` bytes: about four bytes each."""
    return math.ceil(size / 4)


def _untag(content: str) -> tuple[str, str | None]:
    """The text without the thinking in tags before it, and that thinking."""
    if found := THOUGHT.match(content) or HEADLESS.match(content):
        return content[found.end() :].strip(), found.group(found.lastindex or 1).strip()
    return content.strip(), None


def _tokens(usage: Any) -> tuple[int | None, int | None]:
    def count(name: str) -> int | None:
        value = usage.get(name) if isinstance(usage, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    return count("prompt_tokens"), count("completion_tokens")
