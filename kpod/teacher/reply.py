"""Replies of a teacher, parsed from the completion object of any provider."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kpod.teacher.finish import finish_reason
from kpod.teacher.thinking import divide
from kpod.text.hygiene import well_formed

MOST_TOKENS = 2**31  # what claims more is no count
THINKING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")  # fields of a message
DEPTH = 8  # of parts in parts


class BadReply(Exception):
    """The status is 200, but the body is no completion, or one that ended with an error. A retry may succeed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished request."""

    text: str
    thinking: str | None
    refused: bool
    finish_reason: str  # see `kpod.teacher.finish`
    prompt_tokens: int
    completion_tokens: int
    estimated: bool  # whether the server sent no counts, so that they were estimated
    model: str

    def record(self) -> dict[str, Any]:
        """The reply as a record of the journal."""
        return {name: getattr(self, name) for name in self.__slots__}


def parse(payload: Any, size: int, model: str) -> Reply:
    """Parse a chat or text completion; `size` is the prompt's length in bytes, `model` the model that was asked.

    Raises BadReply if it is no completion, or ended with an error.
    """
    try:
        choice = payload["choices"][0]
        message = choice.get("message", {"content": choice["text"]} if "text" in choice else None)
        reason = finish_reason(choice.get("finish_reason"))
        failed = choice.get("error")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadReply("invalid body") from error
    if failed or reason == "error":
        raise BadReply(f"an error inside the answer: {str(failed)[:200]}" if failed else "an error inside the answer")
    if message is None and choice.get("finish_reason"):  # blocked before a word was said
        message = {}
    if not isinstance(message, Mapping):
        raise BadReply("invalid body")
    content_parts, reasoning, refusal = _texts(message)
    text, tagged = divide(well_formed(content_parts))
    thinking = well_formed(reasoning).strip() or tagged
    prompt, completion = tokens(payload, "prompt_tokens"), tokens(payload, "completion_tokens")
    return Reply(
        text=text if text or not refusal else well_formed(refusal),
        thinking=thinking,
        refused=bool(refusal) or reason == "content_filter",
        finish_reason=reason,
        prompt_tokens=estimate(size) if prompt is None else prompt,
        completion_tokens=estimate(_bytes(content_parts) + _bytes(reasoning)) if completion is None else completion,
        estimated=prompt is None or completion is None,
        model=well_formed(str(payload.get("model") or model)),
    )


def estimate(size: int) -> int:
    """Estimated tokens of a text of `size` bytes, four bytes a token."""
    return math.ceil(size / 4)


def count(value: Any) -> int | None:
    """A number of tokens, or None for what cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS else None


def tokens(payload: Mapping[str, Any], name: str) -> int | None:
    """The count `name` of a completion's `usage`, or None."""
    usage = payload.get("usage")
    return count(usage.get(name)) if isinstance(usage, Mapping) else None


def _texts(message: Mapping[str, Any]) -> tuple[str, str, str]:
    """Text, thinking and refusal of a message, whose content is a text or a list of parts. Raises BadReply."""
    content, refusal = message.get("content"), message.get("refusal")
    content_parts, reasoning, refused = list[str](), list[str](), [str(refusal)] if refusal else []
    if isinstance(content, str | None):
        content_parts.append(content or "")
    elif isinstance(content, list | Mapping):
        for kind, text in _parts(content):
            (reasoning if kind == "thinking" else refused if kind == "refusal" else content_parts).append(text)
    else:
        raise BadReply("invalid body")
    field = next((value for name in THINKING if (value := message.get(name))), None)
    reasoning += [field] if isinstance(field, str) else [text for _, text in _parts(field)]
    return "".join(content_parts), "".join(reasoning), "".join(refused)


def _parts(value: Any, kind: str = "text", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(kind, text) of every part that holds text: kinds are text, thinking and refusal."""
    if isinstance(value, str):
        yield kind, value
    elif isinstance(value, list) and depth < DEPTH:
        for part in value:
            yield from _parts(part, kind, depth + 1)
    elif isinstance(value, Mapping) and depth < DEPTH:
        type_name = str(value.get("type") or "").lower()
        if kind == "text" and (
            "think" in type_name or "reason" in type_name or "thought" in type_name or value.get("thought") is True
        ):
            kind = "thinking"
        elif kind == "text" and "refus" in type_name:
            kind = "refusal"
        for name in ("text", "thinking", "reasoning", "refusal", "summary", "content"):
            if value.get(name):
                yield from _parts(value[name], kind, depth + 1)
                return


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
