"""GPU memory of each stage that runs a model, in bytes, for its largest batch."""

from collections.abc import Callable
from dataclasses import astuple, dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from kpod.config import Difficulty, Distill, Evaluate, Lora, ModelStage, Validation, Weights
from kpod.estimate.trace import Traced, trace
from kpod.training.adapter import lora, set_dropout
from kpod.training.batches import Batch
from kpod.training.head import LOGITS, TargetNll
from kpod.weighting.build import HIDDEN, RANK, predictor_precision
from kpod.weighting.network import Weighter

NF4 = 0.516  # bytes of a weight, its share of the scales included
SCORED = 4  # tokens of an answer behind its template, which the answer predictor is scored on
Shape = Callable[[torch.dtype], PreTrainedModel]  # makes the model on the meta device


@dataclass(frozen=True)
class Row:
    """Tokens of the three parts of a row."""

    prompt: int
    rationale: int
    answer: int = 12

    @property
    def target(self) -> int:
        """Tokens of rationale and answer."""
        return self.rationale + self.answer

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt + self.target


@dataclass(frozen=True)
class Memory:
    """Bytes of one process; `logits` are those of one chunk with their gradient."""

    weights: float
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0
    logits: float = 0
    cache: float = 0

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(astuple(self))


def dtype(stage: ModelStage) -> torch.dtype:
    """The dtype of a stage's computation on a GPU, where `auto` is bf16."""
    return torch.float32 if stage.precision == "fp32" else torch.bfloat16


def distillation(shape: Shape, config: Distill, longest: Row) -> tuple[Memory, float]:
    """Memory of distillation on rows as long as `longest`, and floating point operations per token of a row."""
    adapter = config.adapter if isinstance(config.adapter, Lora) else None
    half = dtype(config)
    model = shape(half if adapter and not config.sharding else torch.float32)
    frozen = _linear_weights(model) if adapter else 0
    if adapter:
        lora(model, adapter.rank, adapter.alpha, adapter.dropout)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    set_dropout(model.train(), config.objective.training_dropout(config.dropout))
    rows = min(config.micro_batch, config.batch_size)
    accumulates = config.processes > 1 or config.batch_size > rows  # gradients are there while others are computed
    nll = TargetNll(model)
    nll.last = True

    def once() -> None:
        with torch.autocast("cpu", half, enabled=half is torch.bfloat16):
            nll(_batch(model, rows, longest)).sum().backward()

    traced = trace(model, once, 2 if accumulates else 1)
    logits = min(rows * longest.target, max(1, LOGITS // _vocabulary(model))) * _vocabulary(model) * (8 + half.itemsize)
    memory = _divided(traced, logits, config.processes if config.sharding else 1)
    if adapter and adapter.quantize:
        memory = Memory(**{**vars(memory), "weights": memory.weights - frozen * (half.itemsize - NF4)})
    return memory, traced.flop / (rows * longest.tokens)


def _divided(traced: Traced, logits: float, parts: int = 1) -> Memory:
    """A traced training step with AdamW's two moments; weights, gradients and moments split into `parts`."""
    activations = max(0, traced.peak - traced.weights - traced.trained - logits)
    split = (traced.weights / parts, traced.trained / parts, 2 * traced.trained / parts)
    return Memory(*split, activations=activations, logits=logits)


def weighting(shape: Shape, config: Weights, longest: Row) -> tuple[Memory, float]:
    """Memory of training the weighter on rows as long as `longest`, and operations per token of prompt and rationale.

    `shape` makes the answer predictor; `config` is resolved for its size (`Weights.for_predictor`).
    """
    half = dtype(config)
    alone = predictor_precision(config) == "fp32"
    model = shape(torch.float32 if alone else half).eval()
    width = model.get_input_embeddings().weight.shape[1]
    model.requires_grad_(alone and config.predictor_lr != 0)
    model.get_input_embeddings().weight.requires_grad_(False)
    if config.predictor_adapter == "lora":
        lora(model, RANK, 2 * RANK)
    copies = config.prefixes if isinstance(config.prefixes, int) else longest.rationale
    joined = not model.config.is_encoder_decoder  # all prefixes in one row
    length = longest.prompt + longest.rationale + (copies * longest.answer if joined else 0)
    each = 1 if joined else copies
    rows = max(1, min(config.batch_size, config.batch_tokens // (each * (length if joined else longest.tokens)))) * each

    def once() -> None:
        embedded = torch.empty(rows, length, width, dtype=model.dtype).requires_grad_()
        with torch.autocast("cpu", half, enabled=half is torch.bfloat16):
            if joined:
                seen = torch.ones(rows, 1, length, length, dtype=torch.bool)
                place = torch.zeros(rows, length, dtype=torch.int64)
                keep = torch.zeros(copies * SCORED, dtype=torch.int64)
                out = model(
                    inputs_embeds=embedded,
                    attention_mask=seen,
                    position_ids=place,
                    use_cache=False,
                    logits_to_keep=keep,
                )
            else:
                decoder_ids = torch.zeros(rows, longest.answer, dtype=torch.int64)
                out = model(inputs_embeds=embedded, decoder_input_ids=decoder_ids, use_cache=False)
            logits = out.logits.float().flatten(0, -2)
        nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64)).backward()

    traced = trace(model, once, 2)
    logits = rows * (copies * SCORED if joined else longest.answer) * _vocabulary(model) * (8 + half.itemsize)
    memory = _divided(traced, logits)
    with torch.device("meta"):
        own = sum(  # the same for any number of heads
            value.numel() for value in Weighter(width, HIDDEN, heads=1).parameters()
        )
    # Beside weights, gradient and moments the best weighter so far and the answer's part of the gradient.
    whole = Memory(
        memory.weights + 8 * own, memory.gradients + 8 * own, memory.optimizer + 8 * own, memory.activations, logits
    )
    return whole, traced.flop / (rows / each * (longest.prompt + longest.rationale))


def scoring(shape: Shape, config: Difficulty, longest: Row) -> tuple[Memory, float]:
    """Memory of the forward passes of the stage `difficulty`, and floating point operations per token of a row."""
    model = shape(dtype(config)).eval()
    rows = max(1, config.batch_tokens // longest.tokens)
    nll = TargetNll(model)
    nll.last = True

    @torch.no_grad()
    def once() -> None:
        nll(_batch(model, rows, longest))

    traced = trace(model, once)
    logits = min(rows * longest.target, max(1, LOGITS // _vocabulary(model))) * _vocabulary(model) * 8
    return Memory(
        traced.weights, activations=max(0, traced.peak - traced.weights - logits), logits=logits
    ), traced.flop / (rows * longest.tokens)


def answering(shape: Shape, kind: torch.dtype, config: Evaluate | Validation, prompt: int) -> Memory:
    """Memory of greedy answers to a batch of prompts of `prompt` tokens, each of `max_new_tokens`."""
    model = shape(kind).eval()
    rows = config.batch_size

    @torch.no_grad()
    def once() -> None:
        ids = torch.zeros(rows, prompt, dtype=torch.int64)
        if model.config.is_encoder_decoder:
            model.get_encoder()(input_ids=ids)
        else:
            model(input_ids=ids, use_cache=False, logits_to_keep=1)

    traced = trace(model, once)
    read = rows * cache_bytes(model, kind) * prompt
    cache = read + rows * cache_bytes(model, kind) * config.max_new_tokens
    # Either the prompts are read, beside an empty cache, or the cache is full and one layer's part of it is replaced.
    activations = max(traced.peak - traced.weights + read - cache, cache / model.config.num_hidden_layers)
    logits = rows * _vocabulary(model) * (4 + kind.itemsize)
    return Memory(traced.weights, activations=activations, logits=logits, cache=cache)


def cache_bytes(model: PreTrainedModel, kind: torch.dtype) -> int:
    """Bytes of the KV cache for one token of one row, in all layers."""
    config = model.config
    heads = config.num_attention_heads
    own = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    both = 2 if config.is_encoder_decoder else 1  # attention over itself and over the encoder's output
    return int(2 * both * config.num_hidden_layers * own * width * kind.itemsize)


def _batch(model: PreTrainedModel, rows: int, row: Row) -> Batch:
    """Rows of equal length, as `kpod.training.batches.collate` lays them out."""
    n = rows * row.target

    def ids(count: int, *shape: int) -> torch.Tensor:
        return torch.zeros(count, *shape, dtype=torch.int64)

    inputs = {"input_ids": ids(rows, row.tokens - 1)}
    if model.config.is_encoder_decoder:
        inputs = {name: ids(rows, row.prompt) for name in ("input_ids", "attention_mask")}
        inputs["decoder_input_ids"] = ids(rows, row.target)
    return Batch(inputs, ids(n), ids(n), torch.ones(n), ids(n), torch.zeros(n, dtype=torch.bool))


def _vocabulary(model: PreTrainedModel) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _linear_weights(model: PreTrainedModel) -> int:
    """Weights that `quantize` rounds: of all linear layers but the output layer."""
    head = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
