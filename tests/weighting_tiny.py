"""Tokenizers of three families, tiny random models, and the folders of earlier stages, for the weighter's tests."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kpod import schemas
from kpod.config import Form, Steps
from kpod.steps import stage as steps
from kpod.tokens import stage as tokens

CORPUS = [
    "Q: Tom has 3 apples and gets 4 more. How many apples? A: Let's think step by step.",
    "Tom has 3 + 4 = 7 apples. Therefore, the answer is 7.",
    "Anna owns 12 shells, gives away 5 - 2 = 3. Let us take this one part at a time.",
]
SPECIALS = ["<pad>", "<eos>", "<unk>"]


def byte_bpe(size: int = 300) -> PreTrainedTokenizerFast:
    """The family of GPT-2 and SmolLM; any text can be encoded."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


def unigram() -> PreTrainedTokenizerFast:
    """The family of T5: unigram with metaspace and NFKC; what it does not know is <unk>."""
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.NFKC()
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def word_piece() -> PreTrainedTokenizerFast:
    """The family of BERT: lower case, accents and white space dropped, whole unknown words are <unk>."""
    raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=SPECIALS, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


FAMILIES = {"byte_bpe": byte_bpe, "unigram": unigram, "word_piece": word_piece}


def llama(vocabulary: int, seed: int = 0, width: int = 32) -> PreTrainedModel:
    """Rotary positions, grouped keys, untied output layer."""
    torch.manual_seed(seed)
    shape = {"hidden_size": width, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, **shape)
    return _larger(LlamaForCausalLM(config))


def gpt2(vocabulary: int, seed: int = 0, width: int = 32) -> PreTrainedModel:
    """Learned absolute positions, tied output layer."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=512, n_embd=width, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1
    )
    return _larger(GPT2LMHeadModel(config))


def bloom(vocabulary: int, seed: int = 0, width: int = 32) -> PreTrainedModel:
    """Relative biases from the place in the sequence: no position ids."""
    torch.manual_seed(seed)
    config = BloomConfig(
        vocab_size=vocabulary, hidden_size=width, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    return _larger(BloomForCausalLM(config))


def t5(vocabulary: int, seed: int = 0, width: int = 32) -> PreTrainedModel:
    """Encoder-decoder with relative biases, gated GELU, dropout."""
    torch.manual_seed(seed)
    shape = {"d_model": width, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        vocab_size=vocabulary,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        **shape,
    )
    return T5ForConditionalGeneration(config).eval()


def _larger(model: PreTrainedModel) -> PreTrainedModel:
    """Weights as large as a trained model's, so that a token seen or not seen changes the output clearly."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model.eval()


MODELS = {"llama": llama, "gpt2": gpt2, "bloom": bloom, "t5": t5}


def question(name: str, text: str, answer: str, choices: list[str] | None = None) -> dict[str, Any]:
    return {
        "id": name, "dataset": "t", "split": "train", "question": text, "answer": answer, "choices": choices,
    }  # fmt: skip


def rationale(name: str, text: str, sample: int = 0, kept: bool = True) -> dict[str, Any]:
    return {
        "question_id": name, "sample": sample, "rationale": text, "answer": None, "correct": kept, "kept": kept,
        "drop_reason": None, "model": "m", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1,
        "cost_usd": None,
    }  # fmt: skip


def sums(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions and rationales of small sums, of different lengths."""
    questions, rationales = [], []
    for i in range(count):
        a, b, name = 2 + i % 7, 3 + i % 5, f"q{i:03d}"
        questions.append(question(name, f"Tom has {a} apples and gets {b} more. How many apples?", str(a + b)))
        filler = "Let us take this one part at a time. " * (i % 3)
        rationales.append(rationale(name, f"Tom has {a} apples. {filler}Tom has {a} + {b} = {a + b} apples."))
    return questions, rationales


def world(
    root: Path,
    questions: Sequence[dict[str, Any]],
    rationales: Sequence[dict[str, Any]],
    model: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, Path]:
    """The folders that earlier stages write; returns the stage's `inputs`."""
    inputs = {name: root / name for name in ("questions", "rationales", "steps", "base")}
    for folder in inputs.values():
        folder.mkdir(parents=True, exist_ok=True)
    schemas.write(inputs["questions"] / "questions.parquet", schemas.table(list(questions), schemas.QUESTIONS))
    schemas.write(inputs["rationales"] / "rationales.parquet", schemas.table(list(rationales), schemas.RATIONALES))
    steps.run({"rationales": inputs["rationales"]}, Steps(), inputs["steps"])
    tokenizer = tokenizer or byte_bpe()
    (model or llama(len(tokenizer))).save_pretrained(inputs["base"] / "student")
    tokenizer.save_pretrained(inputs["base"] / "student")
    inputs["tokens"] = root / "tokens"
    inputs["tokens"].mkdir(exist_ok=True)
    tokens.run(inputs, Form(), inputs["tokens"])
    return inputs


def trained(work: Path, kill_at: int | None = None) -> Any:
    """Three epochs on ten sums; with `kill_at` a checkpoint after every step and a SIGKILL behind step `kill_at`."""
    from kpod.config import Weights
    from kpod.text.rationales import Rationale
    from kpod.tokens.rows import tokenise
    from kpod.training import interval
    from kpod.weighting.build import build_predictor, build_weighter
    from kpod.weighting.examples import usable
    from kpod.weighting.train import Training

    torch.set_num_threads(1)
    tokenizer = byte_bpe()
    config = Weights(
        heads=2, precision="fp32", batch_size=4, epochs=2, warmup=1, predictor_lr=1e-3,
        checkpoint_seconds=1e-9 if kill_at else 60.0,
    )  # fmt: skip
    asked, texts = sums(10)
    rows = [
        Rationale(q["id"], 0, q["question"], None, q["answer"], t["rationale"], ((0, 5), (5, len(t["rationale"]))))
        for q, t in zip(asked, texts, strict=True)
    ]
    student = llama(len(tokenizer))
    embedding = student.get_input_embeddings()
    predictor, _ = build_predictor(student, tokenizer, config)
    examples = usable(tokenise(tokenizer, rows), 512)[0]
    run = Training(examples, build_weighter(embedding, config), embedding, predictor, config, work)
    if kill_at:
        interval.RATIO = 0
        backward = run.backward

        def killed(batch: Any, position: Any) -> dict[str, float]:
            if position.step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return backward(batch, position)

        run.backward = killed  # type: ignore[method-assign]
    run.run()
    return run


def train_saving_each_step(work: Path, kill_at: int) -> None:
    trained(work, kill_at)
