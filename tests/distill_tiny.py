"""Tiny random students and rows, shared by the tests of the distiller and by the processes they start."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kpod.config import Distill
from kpod.methods.train import train
from kpod.training import checkpoint, interval
from kpod.training.examples import ANSWER, Example

VOCABULARY = 300
WORDS = ["Tom has 3 apples. He buys 4 more. So 3 + 4 = 7.", "Therefore, the answer is 7.", "Q: How many? A: step by"]


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text fits, and pad is not eos."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


def llama(seed: int = 0, heads: int = 4) -> PreTrainedModel:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": heads}
    config = LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, **shape)
    return LlamaForCausalLM(config).eval()


def t5(seed: int = 0) -> PreTrainedModel:
    """The architecture of FlanT5 (gated GELU, dropout 0.1), with tied and so scaled output embeddings."""
    torch.manual_seed(seed)
    shape = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", dropout_rate=0.1, decoder_start_token_id=0, **shape
    )
    return T5ForConditionalGeneration(config).eval()


STUDENTS = {"llama": llama, "t5": t5}


def row(name: str, generator: np.random.Generator, steps: int = 3) -> Example:
    """A random row of `steps` steps of 1 to 5 tokens with random weights, and an answer of three tokens."""
    sizes = generator.integers(1, 6, steps)
    step = np.concatenate([np.repeat(np.arange(steps), sizes), [ANSWER] * 3]).astype(np.int32)
    return Example(
        key=(name, 0),
        prompt=generator.integers(2, VOCABULARY, generator.integers(2, 12)).astype(np.int32),
        target=np.append(generator.integers(2, VOCABULARY, len(step) - 1), 1).astype(np.int32),
        weight=np.where(step == ANSWER, 1, generator.random(len(step))).astype(np.float32),
        step=step,
    )


def rows(count: int, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    return [row(f"q{number}", generator) for number in range(count)]


def halving(examples: list[Example]) -> np.ndarray:
    """A small curriculum: two steps given at first, none from the third epoch on."""
    return np.repeat([[2], [1], [0]], len(examples), axis=1)


def trained(
    student: str, work: Path, device: str = "cpu", **settings: Any
) -> tuple[PreTrainedModel, list[dict[str, Any]]]:
    model = STUDENTS[student]().to(device)
    config = Distill(**{"budget": {"epochs": 3}, "batch_size": 8, "lr": 1e-2, "precision": "fp32", **settings})
    return model, train(model, tokenizer(), rows(20), config, halving(rows(20)), work).history


def train_until_killed(student: str, adapter: str, work: Path, after: int) -> None:
    """Train and save after every step, in a process of its own, which dies behind checkpoint `after`."""
    publish = checkpoint.publish

    def deadly(source: Path, destination: Path) -> None:
        publish(source, destination)
        if destination.name == f"checkpoint-{after}":
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.publish = deadly
    interval.RATIO = 0
    torch.set_num_threads(1)
    trained(student, work, checkpoint_seconds=1e-9, adapter={"kind": adapter}, dropout=0.1)
