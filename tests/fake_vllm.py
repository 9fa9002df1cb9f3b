"""A module with vLLM's interface whose model is transformers': every row alone, token by token."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = 16
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    skip_special_tokens: bool = True


class TokensPrompt(dict):
    """A typed dictionary there too."""


@dataclass
class CompletionOutput:
    token_ids: list[int]
    text: str
    finish_reason: str | None
    stop_reason: int | str | None


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


@dataclass
class Asked:
    """What reached the module."""

    model: dict[str, Any] = field(default_factory=dict)
    sampling: list[SamplingParams] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)


def module(asked: Asked, keeps_end: bool = True) -> ModuleType:
    """`keeps_end`: whether the ids of an output hold the one that ended it."""

    class LLM:
        def __init__(self, model: str, **settings: Any) -> None:
            asked.model = {"model": model, **settings}
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, settings["dtype"])).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(model)

        def generate(self, prompts: list[Any], sampling: SamplingParams, use_tqdm: bool = True) -> list[RequestOutput]:
            assert not use_tqdm
            asked.sampling.append(sampling)
            asked.prompts += [prompt["prompt_token_ids"] for prompt in prompts]
            return [RequestOutput([self._one(prompt["prompt_token_ids"], sampling)]) for prompt in prompts]

        @torch.inference_mode()
        def _one(self, prompt: list[int], sampling: SamplingParams) -> CompletionOutput:
            assert sampling.temperature == 0
            assert len(prompt) + sampling.max_tokens <= asked.model["max_model_len"]
            tokens: list[int] = []
            ends = {self.tokenizer.eos_token_id, *(sampling.stop_token_ids or [])}
            while len(tokens) < sampling.max_tokens:
                token = int(self.model(torch.tensor([prompt + tokens])).logits[0, -1].argmax())
                if token in ends:
                    own = None if token == self.tokenizer.eos_token_id else token
                    text = self.tokenizer.decode(tokens)
                    return CompletionOutput([*tokens, *([token] if keeps_end else [])], text, "stop", own)
                tokens.append(token)
                text = self.tokenizer.decode(tokens)
                for stop in sampling.stop or []:
                    if stop in text:
                        return CompletionOutput(tokens, text[: text.index(stop)], "stop", stop)
            return CompletionOutput(tokens, text, "length", None)

    made = ModuleType("vllm")
    made.LLM, made.SamplingParams, made.TokensPrompt = LLM, SamplingParams, TokensPrompt  # type: ignore[attr-defined]
    return made
