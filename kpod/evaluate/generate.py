"""Greedy answers of a student, in batches of like length with a KV cache.

Answers end at very different lengths, and a batch lasts as long as its longest. So generation goes in rounds of a few
tokens: after each, the rows that are done leave the batch, and their part of the cache with them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.modeling_outputs import BaseModelOutput

from kpod import observe
from kpod.store.files import write_text
from kpod.text.formats import COT, PromptFormat
from kpod.text.stops import NEXT_QUESTION, first_answer
from kpod.text.tokens import prompt_ids
from kpod.training.ranks import Ranks

ROUND = 32  # tokens
# Newer releases call it `cache`, which older ones do not know.
CACHE = "cache" if "cache" in {field.name for field in fields(GenerateDecoderOnlyOutput)} else "past_key_values"
Question = tuple[str, str, Sequence[str] | None]  # id, question, choices
Decode = Callable[[Mapping[str, list[int]]], dict[str, list[int]]]  # prompts by id -> new tokens by id


@dataclass(frozen=True)
class Completion:
    """What the student wrote; `truncated` if it ran out of tokens before it ended."""

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
    """Answer `(id, question, choices)` with the training prompt, greedily, up to the form's end; id -> completion.

    Batches follow from lengths and ids alone, not from the order of `questions`. Finished batches are kept in
    `work`, so that a killed evaluation goes on behind them. `name` stands beside the progress bar. With `ranks` each
    of them answers every so-many-th batch, and all get the whole.
    """
    model.generation_config = settings = _greedy(model, tokenizer, form)
    stop = _NextQuestion(model, tokenizer) if form.asks_on else None

    def decode(batch: Mapping[str, list[int]]) -> dict[str, list[int]]:
        return _batch(model, tokenizer, batch, max_new_tokens, stop)

    return answers(decode, tokenizer, settings.eos_token_id, questions, batch_size, work, name, form, ranks)


def answers(
    decode: Decode,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    questions: Sequence[Question],
    batch_size: int,
    work: Path,
    name: str,
    form: PromptFormat,
    ranks: Ranks | None = None,
) -> dict[str, Completion]:
    """What `decode` makes of the questions' prompts, as `generate` says; `ends`: the ids that end an answer."""
    prompts = {key: prompt_ids(tokenizer, question, choices, form) for key, question, choices in questions}
    order = sorted(prompts, key=lambda key: (len(prompts[key]), key))
    rank, world = (ranks.rank, ranks.world) if ranks else (0, 1)
    generated: dict[str, list[int]] = {}
    work.mkdir(parents=True, exist_ok=True)
    with observe.progress(name, len(prompts), "question") as bar:
        for first in range(rank * batch_size, len(order), world * batch_size):
            batch = {key: prompts[key] for key in order[first : first + batch_size]}
            kept = work / f"batch-{first}.json"
            found = _read(kept, batch)
            if found is None:
                found = decode(batch)
                write_text(kept, json.dumps(found))
            generated |= found
            bar.advance(min(len(found) * world, len(order) - first))
    if ranks:
        generated = dict(ranks.collect(list(generated.items())))
    return {
        key: Completion(
            _text(tokenizer, ends, tokens, form.asks_on), truncated=not _ended(tokenizer, ends, tokens, form.asks_on)
        )
        for key, tokens in generated.items()
    }


def end_ids(
    own: GenerationConfig | PretrainedConfig, tokenizer: PreTrainedTokenizerBase, form: PromptFormat
) -> list[int]:
    """Ids that end an answer: those of the model's config, the tokenizer's EOS and the form's."""
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return sorted({tokenizer.eos_token_id, form.eos_id(tokenizer), *ends} - {None})


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
        if longest is None or len(prompt_ids(tokenizer, row["question"], row["choices"], form)) <= longest
    ]


def _greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: PromptFormat) -> GenerationConfig:
    """Nothing but greedy: a model folder may ask for sampling, penalties or bans of its own."""
    own = model.generation_config
    start = getattr(own, "decoder_start_token_id", None)
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
        eos_token_id=end_ids(own, tokenizer, form),
        pad_token_id=tokenizer.pad_token_id,
    )


@torch.inference_mode()
def _batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, list[int]],
    max_new_tokens: int,
    stop: "_NextQuestion | None",
) -> dict[str, list[int]]:
    """Up to `max_new_tokens` tokens for each prompt; in rounds, after which the rows that are done leave the batch.

    The others go on from their part of the KV cache. A model whose cache cannot be cut reads its rows anew.
    """
    generated: dict[str, list[int]] = {key: [] for key in prompts}
    ids, mask = _padded(list(prompts.values()), tokenizer.pad_token_id, left=not model.config.is_encoder_decoder)
    ids, mask = ids.to(model.device), mask.to(model.device)
    encoded, cache, keys = None, None, list(prompts)
    if model.config.is_encoder_decoder:
        encoded = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        ids = torch.full((len(keys), 1), model.generation_config.decoder_start_token_id, device=model.device)
    decode: Any = model.generate  # its stub is not callable
    for spent in range(0, max_new_tokens, ROUND):
        start = ids.shape[1]
        if stop:
            stop.start = start - spent
        sources = {"input_ids": ids} if encoded is None else {
            "encoder_outputs": BaseModelOutput(last_hidden_state=encoded), "decoder_input_ids": ids,
            "decoder_attention_mask": torch.ones_like(ids),  # by its width the cache tells what it has read
        }  # fmt: skip
        out = decode(
            **sources,
            attention_mask=mask,
            **{CACHE: cache},
            max_new_tokens=min(ROUND, max_new_tokens - spent),
            stopping_criteria=StoppingCriteriaList([stop] if stop else []),
            return_dict_in_generate=True,
            synced_gpus=False,  # each rank has all weights and questions of its own
        )
        fresh = out.sequences[:, start:]
        for key, tokens in zip(keys, fresh.tolist(), strict=True):
            generated[key] += tokens
        ends, asks_on = model.generation_config.eos_token_id, stop is not None
        going = [row for row, key in enumerate(keys) if not _ended(tokenizer, ends, generated[key], asks_on)]
        if not going:
            break
        keys, ids, mask = [keys[row] for row in going], out.sequences[going], mask[going]
        if encoded is None:
            mask = torch.nn.functional.pad(mask, (0, fresh.shape[1]), value=1)
        else:
            encoded = encoded[going]
        cache = out[CACHE] if hasattr(out[CACHE], "batch_select_indices") else None
        if cache is not None:
            cache.batch_select_indices(torch.tensor(going, device=model.device))
    return generated


def _padded(rows: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 [rows, width]; on the left where all rows must go on at the same place."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    return ids, mask


class _NextQuestion(StoppingCriteria):
    """A row is done when it starts to ask itself the next question."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.start = 0  # column of the first generated token
        # Only a token with a colon can complete the mark: the others need no decoding.
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._colon = torch.zeros(max(model.get_output_embeddings().weight.shape[0], len(tokens)), dtype=torch.bool)
        self._colon[[i for i, token in enumerate(tokens) if token and ":" in token]] = True

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        done = self._colon[input_ids[:, -1].cpu()]
        for row in done.nonzero().flatten().tolist():
            done[row] = _asks(self._tokenizer, input_ids[row, self.start :].tolist())
        return done.to(input_ids.device)


def _read(path: Path, batch: Mapping[str, object]) -> dict[str, list[int]] | None:
    """The batch as a former attempt left it, if it is this batch."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if list(found) == list(batch) else None


def _ended(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], tokens: list[int], asks_on: bool) -> bool:
    return any(end in tokens for end in ends) or (asks_on and _asks(tokenizer, tokens))


def _text(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], tokens: list[int], asks_on: bool) -> str:
    """The words up to EOS or to the next question."""
    end = min((tokens.index(end) for end in ends if end in tokens), default=len(tokens))
    text = str(tokenizer.decode(tokens[:end], skip_special_tokens=True))
    return first_answer(text) if asks_on else text.strip()


def _asks(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> bool:
    """Whether the tokens ask the next question. All are decoded: the first of a part would lose its space."""
    return NEXT_QUESTION.search(str(tokenizer.decode(tokens))) is not None
