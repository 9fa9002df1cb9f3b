"""Greedy answers of a student, in batches of similar length that are kept, so that a killed evaluation continues."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from kpod import observe
from kpod.evaluate import decoding
from kpod.store.files import write_text
from kpod.text.formats import COT, PromptFormat
from kpod.text.stops import first_answer
from kpod.training.ranks import Ranks

Question = tuple[str, str, Sequence[str] | None]  # id, question, choices
Decode = Callable[[Mapping[str, list[int]]], dict[str, list[int]]]  # prompts by id -> new tokens by id


@dataclass(frozen=True)
class Completion:
    """A student's output; `truncated` if it reached the limit of tokens before it ended."""

    text: str
    truncated: bool


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    batch_size: int,
    max_new_tokens: int,
    work: Path,
    name: str = "evaluate",
    form: PromptFormat = COT,
    ranks: Ranks | None = None,
) -> dict[str, Completion]:
    """Answer `(id, question, choices)` greedily with the training prompt; returns completions by id.

    Batches depend on lengths and ids, not on the order of `questions`. Finished batches are kept in `work`, from which
    a killed evaluation continues. `name` labels the progress bar. With `ranks` the batches are split over them, and
    every rank returns all completions. Replaces `model.generation_config`.
    """
    model.generation_config = settings = decoding.greedy(model, tokenizer, form)
    stop = decoding.NextQuestion(model, tokenizer) if form.asks_on else None

    def decode(batch: Mapping[str, list[int]]) -> dict[str, list[int]]:
        return decoding.decode(model, tokenizer, batch, max_new_tokens, stop)

    prompts = {key: form.prompt_ids(tokenizer, question, choices) for key, question, choices in questions}
    return answers(decode, tokenizer, settings.eos_token_id, prompts, batch_size, work, name, form.asks_on, ranks)


def answers(
    decode: Decode,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    prompts: Mapping[str, list[int]],
    batch_size: int,
    work: Path,
    name: str,
    asks_on: bool,
    ranks: Ranks | None = None,
) -> dict[str, Completion]:
    """As `generate`, for prompts by id, with `decode` for the new tokens of a batch.

    `ends` are the ids that end an answer; with `asks_on` it also ends where the next question begins.
    """
    order = sorted(prompts, key=lambda key: (len(prompts[key]), key))
    rank, world = (ranks.rank, ranks.world) if ranks else (0, 1)
    generated: dict[str, list[int]] = {}
    work.mkdir(parents=True, exist_ok=True)
    with observe.progress(name, len(prompts), "question") as bar:
        for first in range(rank * batch_size, len(order), world * batch_size):
            batch = {key: prompts[key] for key in order[first : first + batch_size]}
            file = work / f"batch-{first}.json"
            tokens = _read(file, batch)
            if tokens is None:
                tokens = decode(batch)
                write_text(file, json.dumps(tokens))
            generated |= tokens
            bar.advance(min(len(tokens) * world, len(order) - first))
    if ranks:
        generated = dict(ranks.collect(list(generated.items())))
    return {key: _completion(tokenizer, ends, tokens, asks_on) for key, tokens in generated.items()}


def longest_prompt(config: PretrainedConfig, max_new_tokens: int) -> int | None:
    """Most prompt tokens for which the model's positions suffice; None if it has no such limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    return positions if config.is_encoder_decoder else positions - max_new_tokens


def fitting(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    longest: int | None,
    form: PromptFormat = COT,
) -> list[Mapping[str, Any]]:
    """The rows of schemas.QUESTIONS whose prompts have at most `longest` tokens; all of them if that is None."""
    return [
        row
        for row in rows
        if longest is None or len(form.prompt_ids(tokenizer, row["question"], row["choices"])) <= longest
    ]


def _read(path: Path, batch: Mapping[str, object]) -> dict[str, list[int]] | None:
    """The tokens of a batch that an earlier attempt has written; None if the file is missing or of another batch."""
    if not path.exists():
        return None
    tokens = json.loads(path.read_text(encoding="utf-8"))
    return tokens if list(tokens) == list(batch) else None


def _completion(
    tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], tokens: list[int], asks_on: bool
) -> Completion:
    """The text up to the end, or up to the next question."""
    end = min((tokens.index(end) for end in ends if end in tokens), default=len(tokens))
    text = str(tokenizer.decode(tokens[:end], skip_special_tokens=True))
    truncated = not decoding.ended(tokenizer, ends, tokens, asks_on)
    return Completion(first_answer(text) if asks_on else text.strip(), truncated)
