"""Rationales in the formats of other projects: each row holds the text of a question and completions for it.

| format | columns |
|---|---|
| `openthoughts` | `conversations` (`from`, `value`); or `problem`, `deepseek_reasoning`, `deepseek_solution` |
| `openr1` | `problem`, `generations`; `is_reasoning_complete`, `finish_reasons` |
| `distilabel` | `instruction`, `generation` or `generations`; `model_name`, `distilabel_metadata` |
| `curator` | a log of responses (`generic_request`, `raw_response` ...); or question, `reasoning`, answer |
| `messages` | `messages` (`role`, `content`); or `prompt` and `completion` |
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

QUESTIONS = ("question", "problem", "instruction", "prompt", "input")
THINKING = ("reasoning", "thinking", "deepseek_reasoning", "reasoning_content", "reasoning_trace")
ANSWERS = ("response", "solution", "deepseek_solution", "generation", "output", "completion", "answer")
ASKS, TELLS = ("user", "human"), ("assistant", "gpt", "model")


@dataclass(frozen=True)
class Completion:
    """One completion for the question of a row."""

    question: str  # its text
    payload: Mapping[str, Any]  # as a chat-completions server would have sent it
    row: Mapping[str, Any] = field(default_factory=dict)  # may hold the question's `question_id`


def _completion(message: Mapping[str, Any], finish: Any = None, usage: Any = None, model: Any = None) -> dict[str, Any]:
    return {"choices": [{"message": dict(message), "finish_reason": finish}], "usage": usage, "model": model}


def openthoughts(row: Mapping[str, Any]) -> Iterator[Completion]:
    """One turn of question and answer, the thinking between marks or in a column of its own.

    Raises ValueError for a row without these columns or with several turns.
    """
    if row.get("conversations") is not None:
        yield from _turn(row, row["conversations"], "from", "value")
    else:
        message = {"content": _first(row, "deepseek_solution"), "reasoning_content": row.get("deepseek_reasoning")}
        yield Completion(_first(row, "problem"), _completion(message), row)


def openr1(row: Mapping[str, Any]) -> Iterator[Completion]:
    """The generations for one problem; one that is not complete is cut off. Raises ValueError for another row."""
    problem = _first(row, "problem")
    whole, reasons = row.get("is_reasoning_complete") or [], row.get("finish_reasons") or []
    for place, text in enumerate(_list(row, "generations")):
        reason = reasons[place] if place < len(reasons) else None
        if place < len(whole) and whole[place] is False:
            reason = "length"
        yield Completion(problem, _completion({"content": text}, reason), row)


def distilabel(row: Mapping[str, Any]) -> Iterator[Completion]:
    """One generation, or a list of generations by different models. Raises ValueError for another row."""
    texts = row.get("generations") if row.get("generations") is not None else row.get("generation")
    models = row.get("model_name") or row.get("generation_model") or row.get("generation_models")
    several = texts if isinstance(texts, list) else [texts]
    statistics = next(_statistics(row.get("distilabel_metadata")), {}) if len(several) == 1 else {}
    usage = {"prompt_tokens": statistics.get("input_tokens"), "completion_tokens": statistics.get("output_tokens")}
    for place, text in enumerate(several):
        if text is not None:  # the model gave nothing
            model = models[place] if isinstance(models, list) and place < len(models) else models
            yield Completion(_first(row, "instruction"), _completion({"content": text}, None, usage, model), row)


def curator(row: Mapping[str, Any]) -> Iterator[Completion]:
    """A line of the log of responses, or a row of the dataset made from it. Raises ValueError for another row."""
    request = row.get("generic_request")
    if not isinstance(request, Mapping):
        thinking = next((row[name] for name in THINKING if row.get(name)), None)
        message = {"content": _first(row, *ANSWERS), "reasoning_content": thinking}
        yield Completion(
            _first(row, *QUESTIONS), _completion(message, row.get("finish_reason"), None, row.get("model")), row
        )
        return
    original = request.get("original_row")
    payload = row.get("raw_response")
    if not (isinstance(payload, Mapping) and payload.get("choices")):
        reply, usage = row.get("response_message"), row.get("token_usage")
        reply = reply if isinstance(reply, Mapping) else {"content": reply}
        payload = _completion(reply, row.get("finish_reason"), usage)
    yield Completion(
        _last(request.get("messages"), ASKS, "role", "content"),
        {"model": request.get("model"), **payload},
        original if isinstance(original, Mapping) else {},
    )


def messages(row: Mapping[str, Any]) -> Iterator[Completion]:
    """One turn of question and answer. Raises ValueError for another row."""
    turns = row.get("messages")
    if turns is None:
        prompt, completion = row.get("prompt"), row.get("completion")
        before = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        turns = [
            *before,
            *(completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]),
        ]
    yield from _turn(row, turns, "role", "content")


FORMATS: dict[str, Callable[[Mapping[str, Any]], Iterator[Completion]]] = {
    "openthoughts": openthoughts,
    "openr1": openr1,
    "distilabel": distilabel,
    "curator": curator,
    "messages": messages,
}


def _turn(row: Mapping[str, Any], turns: Any, role: str, text: str) -> Iterator[Completion]:
    """The completion of a conversation of one turn. Raises ValueError for another."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError("the conversation is no list of messages")
    answers = [turn for turn in turns if str(turn.get(role)).lower() in TELLS]
    if len(answers) != 1 or answers[0] is not turns[-1]:
        raise ValueError(f"a conversation with {len(answers)} answers: only one turn, ended by its answer, can be used")
    message = {**answers[0], "content": answers[0].get(text)}
    payload = _completion(message, row.get("finish_reason"), row.get("usage"), row.get("model"))
    yield Completion(_last(turns[:-1], ASKS, role, text), payload, row)


def _last(turns: Any, roles: tuple[str, ...], role: str, text: str) -> str:
    for turn in reversed(turns if isinstance(turns, list) else []):
        if isinstance(turn, Mapping) and str(turn.get(role)).lower() in roles and isinstance(turn.get(text), str):
            return str(turn[text])
    raise ValueError("no question is in the conversation")


def _first(row: Mapping[str, Any], *names: str) -> str:
    """The first of the columns that holds a text. Raises ValueError if none does."""
    for name in names:
        if isinstance(row.get(name), str) and row[name].strip():
            return str(row[name])
    raise ValueError(f"no text in {' or '.join(names)}")


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(row.get(name), list):
        raise ValueError(f"no list in {name}")
    return list(row[name])


def _statistics(metadata: Any) -> Iterator[Mapping[str, Any]]:
    for name, value in metadata.items() if isinstance(metadata, Mapping) else ():
        if str(name).startswith("statistics_") and isinstance(value, Mapping):
            yield value
