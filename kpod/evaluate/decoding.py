"""Greedy decoding of a batch with a KV cache, in rounds of a few tokens.

Answers end at very different lengths, and a batch takes as long as its longest answer. So after each round the rows
that have ended leave the batch, together with their part of the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
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

from kpod.text.formats import PromptFormat
from kpod.text.stops import NEXT_QUESTION

ROUND = 32  # tokens
# Newer releases call it `cache`, which older ones do not know.
CACHE = "cache" if "cache" in {field.name for field in fields(GenerateDecoderOnlyOutput)} else "past_key_values"


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: PromptFormat) -> GenerationConfig:
    """Settings of plain greedy decoding; a model's own may ask for sampling, penalties or banned tokens."""
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


def end_ids(
    own: GenerationConfig | PretrainedConfig, tokenizer: PreTrainedTokenizerBase, form: PromptFormat
) -> list[int]:
    """Ids that end an answer: those of the model's config, the tokenizer's EOS and the form's."""
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return sorted({tokenizer.eos_token_id, form.eos_id(tokenizer), *ends} - {None})


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, list[int]],
    max_new_tokens: int,
    stop: "NextQuestion | None",
) -> dict[str, list[int]]:
    """Up to `max_new_tokens` new token ids for each prompt, by the settings in `model.generation_config` (`greedy`).

    The rows that go on keep their part of the KV cache; a model whose cache cannot be cut reads its rows again.
    """
    generated: dict[str, list[int]] = {key: [] for key in prompts}
    ids, mask = _padded(list(prompts.values()), tokenizer.pad_token_id, left=not model.config.is_encoder_decoder)
    ids, mask = ids.to(model.device), mask.to(model.device)
    encoded, cache, keys = None, None, list(prompts)
    if model.config.is_encoder_decoder:
        encoded = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        ids = torch.full((len(keys), 1), model.generation_config.decoder_start_token_id, device=model.device)
    generate: Any = model.generate  # its stub is not callable
    for spent in range(0, max_new_tokens, ROUND):
        width = ids.shape[1]
        if stop:
            stop.prompt_width = width - spent
        sources = {"input_ids": ids} if encoded is None else {
            "encoder_outputs": BaseModelOutput(last_hidden_state=encoded), "decoder_input_ids": ids,
            "decoder_attention_mask": torch.ones_like(ids),  # its width tells the cache what it has read
        }  # fmt: skip
        out = generate(
            **sources,
            attention_mask=mask,
            **{CACHE: cache},
            max_new_tokens=min(ROUND, max_new_tokens - spent),
            stopping_criteria=StoppingCriteriaList([stop] if stop else []),
            return_dict_in_generate=True,
            synced_gpus=False,  # each rank has all weights and its own questions
        )
        fresh = out.sequences[:, width:]
        for key, tokens in zip(keys, fresh.tolist(), strict=True):
            generated[key] += tokens
        ends, asks_on = model.generation_config.eos_token_id, stop is not None
        going = [row for row, key in enumerate(keys) if not ended(tokenizer, ends, generated[key], asks_on)]
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


class NextQuestion(StoppingCriteria):
    """Stops a row that begins to ask itself the next question."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.prompt_width = 0  # column of the first generated token
        self._colon = _colons(tokenizer, len(tokenizer), model.get_output_embeddings().weight.shape[0])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        done = self._colon[input_ids[:, -1].cpu()]
        for row in done.nonzero().flatten().tolist():
            done[row] = asks(self._tokenizer, input_ids[row, self.prompt_width :].tolist())
        return done.to(input_ids.device)


@lru_cache(maxsize=8)
def _colons(tokenizer: PreTrainedTokenizerBase, size: int, ids: int) -> torch.Tensor:
    """Ids with a colon, bool [max(size, ids)]: no other completes the mark of a question, nor needs to be decoded."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
    found = torch.zeros(max(size, ids), dtype=torch.bool)
    found[[i for i, token in enumerate(tokens) if token and ":" in token]] = True
    return found


def ended(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], tokens: list[int], asks_on: bool) -> bool:
    """Whether an answer has ended: it holds one of the ids `ends`, or, with `asks_on`, asks the next question."""
    return any(end in tokens for end in ends) or (asks_on and asks(tokenizer, tokens))


def asks(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> bool:
    """Whether the tokens ask the next question. All are decoded: the first one of a part would lose its space."""
    return NEXT_QUESTION.search(str(tokenizer.decode(tokens))) is not None


def _padded(rows: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 [rows, width]; padded on the left if all rows must continue in the same column."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    return ids, mask
