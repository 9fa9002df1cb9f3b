"""Greedy answers of a student, in batches of like length with a KV cache."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from kpod import observe
from kpod.files import write_text
from kpod.sequences import prompt_ids

NEXT_QUESTION = "Q:"


@dataclass(frozen=True)
class Completion:
    """What the student wrote; `truncated` if it ran out of tokens."""

    text: str
    truncated: bool


class _NextQuestion(StoppingCriteria):
    """A row is done when it starts to ask itself the next question."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, start: int) -> None:
        self._tokenizer, self._start = tokenizer, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        tails = self._tokenizer.batch_decode(input_ids[:, self._start :][:, -6:])
        return torch.tensor([NEXT_QUESTION in tail for tail in tails], device=input_ids.device)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[tuple[str, str, Sequence[str] | None]],
    batch_size: int,
    max_new_tokens: int,
    work: Path,
) -> dict[str, Completion]:
    """Answer `(id, question, choices)` greedily; id -> completion. Batches depend on (length, id) alone.

    Finished batches are kept in `work`, so that a killed evaluation goes on behind them.
    """
    prompts = {name: prompt_ids(tokenizer, question, choices) for name, question, choices in questions}
    order = sorted(prompts, key=lambda name: (len(prompts[name]), name))
    work.mkdir(parents=True, exist_ok=True)
    done: dict[str, Completion] = {}
    with observe.progress("evaluate", len(order), "question") as bar:
        for first in range(0, len(order), batch_size):
            names = order[first : first + batch_size]
            kept = work / f"batch-{first}.json"
            if kept.exists():
                found = {name: Completion(*value) for name, value in json.loads(kept.read_text("utf-8")).items()}
            else:
                found = _batch(model, tokenizer, {name: prompts[name] for name in names}, max_new_tokens)
                write_text(kept, json.dumps({name: [c.text, c.truncated] for name, c in found.items()}))
            done |= found
            bar.advance(len(names))
    return done


@torch.inference_mode()
def _batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: dict[str, list[int]], max_new_tokens: int
) -> dict[str, Completion]:
    width = max(map(len, prompts.values()))
    pad = tokenizer.pad_token_id
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts.values()):  # left: all rows go on at the same place
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    start = 1 if model.config.is_encoder_decoder else width
    out = model.generate(  # type: ignore[operator]
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), max_new_tokens=max_new_tokens,
        do_sample=False, num_beams=1, repetition_penalty=1.0, pad_token_id=pad, eos_token_id=tokenizer.eos_token_id,
        stopping_criteria=StoppingCriteriaList([_NextQuestion(tokenizer, start)]),
    )  # fmt: skip
    result = {}
    for name, row in zip(prompts, out[:, start:].tolist(), strict=True):
        ended = tokenizer.eos_token_id in row
        text = str(
            tokenizer.decode(row[: row.index(tokenizer.eos_token_id)] if ended else row, skip_special_tokens=True)
        )
        asked = NEXT_QUESTION in text
        result[name] = Completion(text.split(NEXT_QUESTION)[0].strip(), truncated=not ended and not asked)
    return result
