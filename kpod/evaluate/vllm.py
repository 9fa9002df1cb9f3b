"""Greedy answers by vLLM in this process, with the prompts, stops and limits of the built-in generator.

The package is an extra, and is imported when it is used. Validation during training does without it: the weights change
each epoch, and for some hundred questions an engine would start again, beside the optimizer's state.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from kpod.config import Evaluate
from kpod.errors import ConfigError
from kpod.evaluate.decoding import end_ids
from kpod.evaluate.generate import Completion, Question, answers
from kpod.text.formats import PromptFormat
from kpod.text.stops import STOPS
from kpod.training.extras import check_vllm, cuda
from kpod.training.models import compute_dtype

CHUNK = 4096  # questions that are kept at a time; vLLM makes its own batches of them
SHARE = 0.9  # of the free GPU memory


def chosen(config: Evaluate, folder: Path) -> bool:
    """Whether vLLM answers: for the backend `vllm`, or for `auto` if it is installed, with a GPU, for a decoder-only
    student in `folder`.

    Raises ConfigError if the backend is `vllm` and it cannot be used.
    """
    required = config.backend == "vllm"
    if config.backend == "transformers" or config.processes > 1:
        return False
    try:
        check_vllm("evaluate.")
    except ConfigError:
        if required:
            raise
        return False
    joint = bool(AutoConfig.from_pretrained(folder, local_files_only=True).is_encoder_decoder)
    if joint and required:
        raise ConfigError("evaluate.backend: vllm has no encoder-decoder models: take transformers")
    return not joint


def generate(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    shape: PretrainedConfig,
    questions: Sequence[Question],
    config: Evaluate,
    work: Path,
    form: PromptFormat,
) -> dict[str, Completion]:
    """Completions by id of the student in `folder`, as those of `kpod.evaluate.generate.generate`."""
    import vllm

    own = GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").exists() else shape
    ends = end_ids(own, tokenizer, form)
    asked = {name: form.prompt_ids(tokenizer, text, choices) for name, text, choices in questions}
    sampling = vllm.SamplingParams(
        temperature=0.0,
        max_tokens=config.max_new_tokens,
        stop=STOPS if form.asks_on else None,
        stop_token_ids=ends,
        skip_special_tokens=False,
    )
    model = vllm.LLM(
        model=str(folder),
        dtype=str(compute_dtype(config.precision)).removeprefix("torch."),
        max_model_len=max(map(len, asked.values()), default=0) + config.max_new_tokens,
        seed=0,
        generation_config="vllm",  # not the folder's own sampling settings
        gpu_memory_utilization=_share(),
    )

    def decode(batch: Mapping[str, list[int]]) -> dict[str, list[int]]:
        prompts = [vllm.TokensPrompt(prompt_token_ids=ids) for ids in batch.values()]
        outputs = model.generate(prompts, sampling, use_tqdm=False)
        return {key: _tokens(output.outputs[0], ends) for key, output in zip(batch, outputs, strict=True)}

    return answers(decode, tokenizer, ends, asked, CHUNK, work, "evaluate", form.asks_on)


def _tokens(output: Any, ends: Sequence[int]) -> list[int]:
    """New tokens with the id that ended them, which some releases leave out."""
    tokens = list(output.token_ids)
    by_id = output.finish_reason == "stop" and not isinstance(output.stop_reason, str)
    if by_id and not set(tokens) & set(ends):
        tokens.append(output.stop_reason if output.stop_reason is not None else ends[0])
    return tokens


def _share() -> float:
    """Share of the whole GPU memory to use: earlier stages may still hold some of it."""
    if not cuda():
        return SHARE
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return SHARE * free / total
