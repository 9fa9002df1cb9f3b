"""A small student from scratch: its own tokenizer, and pretraining on easy problems.

Without pretraining the difficulty of Eq. 8 would be meaningless: to an untrained model every token is equally hard.
"""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kpod.config import Budget, Distill, Family, ScratchStudent, ScriptedEndpoint
from kpod.methods.train import train
from kpod.questions.wordproblems import easy, sums
from kpod.teacher.scripted import Scripted
from kpod.text.formats import COT
from kpod.text.prompts import SENTENCE, prompt
from kpod.training.examples import Example, example
from kpod.training.models import device

END = "<|end|>"
VOCABULARY = 1024
SUMS = 6  # a row
Problem = tuple[str, str, str]  # question, rationale, answer


def shape(config: ScratchStudent, vocabulary: int, eos: int, pad: int) -> LlamaConfig:
    """The architecture: a Llama config of `config`'s layers, width and heads, with tied embeddings."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden,
        intermediate_size=config.hidden * 3,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=config.hidden**-0.5,  # the usual 0.02 is far too small for a narrow model to start from
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def pretrain(config: ScratchStudent, work: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, dict[str, float]]:
    """Train a Llama model of `config`'s size on easy problems and drills; `work` holds its checkpoints.

    Returns the model (fp32), its tokenizer, and loss and target tokens of the training.
    """
    problems = easy(config.problems, config.seed, config.family) + drills(config.drills, config.seed, config.family)
    tokenizer = build_tokenizer(problems)
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(shape(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id))
    torch.nn.Module.to(model, device())  # transformers' own `to` is wrapped so that its types are lost
    settings = Distill(
        token_weights=False,
        progressive=False,
        budget=Budget(epochs=config.epochs),
        batch_size=config.batch_size,
        micro_batch=config.batch_size,
        lr=config.lr,
        decay="cosine",
        precision="fp32",  # mixed precision costs such a small model more time than it saves
        seed=config.seed,
    )
    result = train(model, tokenizer, _examples(tokenizer, problems), settings, None, work, name="base: pretraining")
    return model, tokenizer, {"pretraining_loss": result.history[-1]["loss"], "pretraining_tokens": result.done}


def build_tokenizer(problems: list[Problem]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of VOCABULARY tokens with one token for each number below 100, the space before it included.

    A tiny model learns sums of whole numbers far sooner than sums of digits, and a separate space in front of every
    number would be one more token without information.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    texts = [f"{prompt(q)} {r}{SENTENCE.statement(a)}" for q, r, a in problems]
    # The teacher's words have tokens, as they would have in any real student's vocabulary; the model has not read them.
    teacher = Scripted(ScriptedEndpoint(filler=1.0))
    texts += [teacher.answer(prompt(question), sample=0) for question, _, _ in problems[:1000]]
    numbers = [" ".join(["", *map(str, range(100))])] * len(texts)  # often enough for a token each
    tokenizer.train_from_iterator([*texts, *numbers], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def drills(rows: int, seed: int, family: Family = "stories") -> list[Problem]:
    """`rows` problems of SUMS equations each, from which a tiny model learns to calculate."""
    equations = sums(rows * SUMS, seed, family)
    return [
        ("Some sums.", " ".join(f"{equation}." for equation in row), row[-1].rpartition(" ")[2])
        for row in (equations[offset : offset + SUMS] for offset in range(0, len(equations), SUMS))
    ]


def _examples(tokenizer: PreTrainedTokenizerFast, problems: list[Problem]) -> list[Example]:
    rationales = tokenizer([f" {rationale}" for _, rationale, _ in problems], add_special_tokens=False)["input_ids"]
    return [
        example((f"easy-{number}", 0), COT.prompt_ids(tokenizer, question), ids, COT.answer_ids(tokenizer, answer))
        for number, ((question, _, answer), ids) in enumerate(zip(problems, rationales, strict=True))
    ]
