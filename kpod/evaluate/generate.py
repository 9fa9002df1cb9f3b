"""Greedy answers of a student, in batches of like length with a KV cache.

Answers end at very different lengths, and a batch lasts as long as its longest. So generation goes in rounds of a few
tokens: after each, the rows that are done leave, and the others are packed into full batches again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from kpod import observe
from kpod.store.files import write_text
from kpod.text.stops import NEXT_QUESTION, first_answer
from kpod.text.tokens import prompt_ids

ROUND = 32  # tokens
Question = tuple[str, str, Sequence[str] | None]  # id, question, choices


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
) -> dict[str, Completion]:
    """Answer `(id, question, choices)` with the training prompt, greedily, up to EOS or "Q:"; id -> completion.

    Batches follow from lengths and ids alone, not from the order of `questions`. Finished batches are kept in
    `work`, so that a killed evaluation goes on behind them. `name` stands beside the progress bar.
    """
    model.generation_config = settings = _greedy(model, tokenizer)
    prompts = {key: prompt_ids(tokenizer, question, choices) for key, question, choices in questions}
    told: dict[str, list[int]] = {key: [] for key in prompts}
    waiting, spent = set(prompts), 0
    work.mkdir(parents=True, exist_ok=True)
    with observe.progress(name, len(prompts), "question") as bar:
        while waiting and spent < max_new_tokens:
            fresh = min(ROUND, max_new_tokens - spent)
            order = sorted(waiting, key=lambda key: (len(prompts[key]), key))
            for first in range(0, len(order), batch_size):
                batch = {key: (prompts[key], told[key]) for key in order[first : first + batch_size]}
                kept = work / f"from-{spent}-batch-{first}.json"
                found = _read(kept, batch)
                if found is None:
                    found = _batch(model, tokenizer, batch, fresh)
                    write_text(kept, json.dumps(found))
                for key, tokens in found.items():
                    told[key] = told[key] + tokens
                done = {key for key in found if _ended(tokenizer, settings, told[key])}
                waiting -= done
                bar.advance(len(done))
            spent += fresh
        bar.advance(len(waiting))
    return {
        key: Completion(_text(tokenizer, settings, tokens), truncated=key in waiting) for key, tokens in told.items()
    }


def longest_prompt(config: PretrainedConfig, max_new_tokens: int) -> int | None:
    """Most prompt tokens for which the model's positions suffice; None if it has no such limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    return positions if config.is_encoder_decoder else positions - max_new_tokens


def fitting(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, longest: int | None
) -> list[Mapping[str, Any]]:
    """The rows of schemas.QUESTIONS whose prompts have at most `longest` tokens; all of them if that is None."""
    return [
        row for row in rows if longest is None or len(prompt_ids(tokenizer, row["question"], row["choices"])) <= longest
    ]


def _greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Nothing but greedy: a model folder may ask for sampling, penalties or bans of its own."""
    own = model.generation_config
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    start = getattr(own, "decoder_start_token_id", None)
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
        eos_token_id=sorted({tokenizer.eos_token_id, *ends} - {None}),
        pad_token_id=tokenizer.pad_token_id,
    )


@torch.inference_mode()
def _batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Mapping[str, tuple[list[int], list[int]]],
    fresh: int,
) -> dict[str, list[int]]:
    """Up to `fresh` more tokens for each (prompt, tokens told so far; these are equally many in all rows)."""
    inputs: dict[str, Any]
    if model.config.is_encoder_decoder:
        ids, mask = _padded([prompt for prompt, _ in rows.values()], tokenizer.pad_token_id, left=False)
        begin = model.generation_config.decoder_start_token_id
        decoder = torch.tensor([[begin, *told] for _, told in rows.values()], device=model.device)
        inputs = {"decoder_input_ids": decoder}
        start = decoder.shape[1]
    else:
        ids, mask = _padded([prompt + told for prompt, told in rows.values()], tokenizer.pad_token_id, left=True)
        inputs = {}
        start = ids.shape[1]
    decode: Any = model.generate  # its stub is not callable
    out = decode(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=fresh,
        stopping_criteria=StoppingCriteriaList([_NextQuestion(model, tokenizer, start)]),
        **inputs,
    )
    return dict(zip(rows, out[:, start:].tolist(), strict=True))


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

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, start: int) -> None:
        self._tokenizer, self._start = tokenizer, start
        # Only a token with a colon can complete the mark: the others need no decoding.
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._colon = torch.zeros(max(model.get_output_embeddings().weight.shape[0], len(tokens)), dtype=torch.bool)
        self._colon[[i for i, token in enumerate(tokens) if token and ":" in token]] = True

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        done = self._colon[input_ids[:, -1].cpu()]
        for row in done.nonzero().flatten().tolist():
            done[row] = _asks(self._tokenizer, input_ids[row, self._start :].tolist())
        return done.to(input_ids.device)


def _read(path: Path, batch: Mapping[str, object]) -> dict[str, list[int]] | None:
    """The batch as a former attempt left it, if it is this batch."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if list(found) == list(batch) else None


def _ended(tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig, tokens: list[int]) -> bool:
    return any(end in tokens for end in settings.eos_token_id) or _asks(tokenizer, tokens)


def _text(tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig, tokens: list[int]) -> str:
    """The words up to EOS or to the next question."""
    end = min((tokens.index(end) for end in settings.eos_token_id if end in tokens), default=len(tokens))
    return first_answer(str(tokenizer.decode(tokens[:end], skip_special_tokens=True)))


def _asks(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> bool:
    """Whether the tokens ask the next question. All are decoded: the first of a part would lose its space."""
    return NEXT_QUESTION.search(str(tokenizer.decode(tokens))) is not None
