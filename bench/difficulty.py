"""Scoring of difficulty against the bare forward pass of the same model on the same tokens, and against batch 1.

Usage: python bench/difficulty.py [--limit N] [--student FOLDER] [--rationales FILE.jsonl.gz --questions FILE.jsonl.gz]
Without a student: small random models, a decoder-only one and an encoder-decoder. Without files: made-up rationales;
the files hold lines {id, rationale, answer} and {id, question}. One thread. Writes bench/results/difficulty.json and
.md; what is not run keeps its former figures.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from curriculum import Clock, machine, rationales
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kpod.config import Difficulty
from kpod.difficulty.stage import difficulties, token_losses
from kpod.steps.cutting import spans, split
from kpod.text.rationales import Rationale
from kpod.text.tokens import batches_of
from kpod.tokens.rows import tokenise
from kpod.training import models
from kpod.training.batches import Batch, collate, decoder_start
from kpod.training.examples import Example, usable

RESULT = Path(__file__).parent / "results" / "difficulty.json"
CONFIG = Difficulty(weighting="uniform", precision="fp32")
VOCABULARY = 4000
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=int, default=400, help="so many rationales")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--student", type=Path)
    parser.add_argument("--rationales", type=Path)
    parser.add_argument("--questions", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(options.rationales, options.questions, options.limit) if options.rationales else made_up(options.limit)
    result: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = machine() | {"torch": torch.__version__}
    if options.student:
        students = {options.student.name: models.load(options.student, "fp32")}
    else:
        tokenizer = trained_tokenizer([row.text for row in rows])
        students = {"small decoder-only": (llama(), tokenizer), "small encoder-decoder": (t5(), tokenizer)}
    texts = options.rationales.name.removesuffix(".jsonl.gz") if options.rationales else "made up"
    for name, (model, tokenizer) in students.items():
        figures = measure(model, tokenizer, rows, options.rounds)
        print(name, texts, figures, flush=True)
        result.setdefault("runs", {})[f"{name} / {texts}"] = figures
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    RESULT.with_suffix(".md").write_text(report(result))


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Rationale], rounds: int
) -> Figures:
    """Median CPU seconds of tokenising, scoring, the bare forward pass over the same batches, and a loop of batch 1."""
    clock = Clock()
    examples, rejected = usable(tokenise(tokenizer, rows), CONFIG.max_tokens)
    tokenised = clock.stop()["cpu_s"]
    steps = examples.tokens.steps[examples.rows].astype(np.int64)
    pad, start = int(tokenizer.pad_token_id), decoder_start(model)
    batches = [
        collate(examples.take(rows), [0] * len(rows), pad, start)
        for rows in batches_of(examples.sizes, CONFIG.batch_tokens)
    ]

    def scoring() -> None:
        losses = token_losses(model, pad, examples, CONFIG.batch_tokens)
        difficulties(examples, losses, steps, CONFIG)

    ways: dict[str, Callable[[], None]] = {
        "scoring": scoring,
        "raw": lambda: forward(model, batches),
        "loop": lambda: loop(model, examples, pad, start),
    }
    forward(model, batches[:1])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):  # in turn, so that a busy minute of the machine meets all of them
        for name, way in ways.items():
            clock = Clock()
            way()
            seconds[name].append(clock.stop()["cpu_s"])
    tokens = sum(example.tokens for example in examples)
    padded = sum(value.numel() for batch in batches for name, value in batch.inputs.items() if name.endswith("ids"))
    return {
        "rationales": len(examples),
        "left out": len(rejected),
        "tokens": tokens,
        "target tokens": sum(len(example.target) for example in examples),
        "padding": 1 - (tokens - (len(examples) if start is None else 0)) / padded,
        "batches": len(batches),
        "tokenise_cpu_s": tokenised,
        **{f"{name}_cpu_s": median(values) for name, values in seconds.items()},
        "share of raw throughput": median(r / s for r, s in zip(seconds["raw"], seconds["scoring"], strict=True)),
        "times the loop": median(a / s for a, s in zip(seconds["loop"], seconds["scoring"], strict=True)),
        "rounds": seconds,
    }


@torch.inference_mode()
def forward(model: PreTrainedModel, batches: Sequence[Batch]) -> None:
    """What any user of the model pays: logits of every position."""
    for batch in batches:
        model(**batch.inputs, use_cache=False)


@torch.inference_mode()
def loop(model: PreTrainedModel, examples: Sequence[Example], pad: int, start: int | None) -> None:
    """One rationale at a time, logits of every position, the loss of its target."""
    for example in examples:
        batch = collate([example], [0], pad, start)
        logits = model(**batch.inputs, use_cache=False).logits[0][batch.positions]
        torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none").numpy()


def made_up(limit: int) -> list[Rationale]:
    question = "Tom has {} apples and gives {} of them to his friends in equal parts. How many does each friend get?"
    return [row(f"{i}", question.format(i, 3), text, "7") for i, text in enumerate(rationales(limit))]


def read(texts: Path, questions: Path, limit: int) -> list[Rationale]:
    with gzip.open(questions, "rt", encoding="utf-8") as file:
        asked = {line["id"]: line for line in map(json.loads, file)}
    with gzip.open(texts, "rt", encoding="utf-8") as file:
        told = [line for line in map(json.loads, file) if line["id"] in asked and line["rationale"].strip()]
    first = list({line["id"]: line for line in reversed(told)}.values())[::-1][:limit]
    return [row(line["id"], asked[line["id"]]["question"], line["rationale"], str(line["answer"])) for line in first]


def row(key: str, question: str, text: str, answer: str) -> Rationale:
    return Rationale(key, 0, question, None, answer, text, tuple(map(tuple, spans(split(text)).tolist())))


def trained_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(kinds.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")  # noqa: S106


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, pad_token_id=0, eos_token_id=1, **shape)).eval()


def t5() -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"d_model": 192, "d_ff": 512, "d_kv": 32, "num_layers": 4, "num_heads": 6}
    config = T5Config(
        vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, **shape
    )
    return T5ForConditionalGeneration(config).eval()


def report(result: Figures) -> str:
    m = result["machine"]
    columns = (
        "student / texts", "rounds", "rationales", "tokens (of them target)", "padding", "raw, s", "scoring, s",
        "of raw throughput", "loop, s", "times the loop", "tokens/s", "tokenise, s",
    )  # fmt: skip
    lines = [
        "# Difficulty: scoring against the bare forward pass",
        "",
        f"One thread, fp32, {CONFIG.batch_tokens} padded tokens a batch, on a shared machine ({m['cpu']}; Python",
        f"{m['python']}, torch {m['torch']}, transformers {m['transformers']}). CPU seconds of the process, medians",
        "over rounds in which the three ways take turns. *Raw*: the model called on the same batches, logits of",
        "every position, nothing else. *Scoring*: batching, padding, the pass, losses and Eq. 8; logits are computed",
        "at target positions only, which is how it can beat the raw pass. *Loop*: one rationale at a time.",
        "Written by `python bench/difficulty.py`.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for name, run in result["runs"].items():
        share = run["target tokens"] / run["tokens"]
        cells = (
            name,
            len(run["rounds"]["raw"]),
            run["rationales"],
            f"{run['tokens']:,} ({share:.0%})",
            f"{run['padding']:.1%}",
            f"{run['raw_cpu_s']:.2f}",
            f"{run['scoring_cpu_s']:.2f}",
            f"**{run['share of raw throughput']:.2f}**",
            f"{run['loop_cpu_s']:.2f}",
            f"{run['times the loop']:.2f}",
            f"{run['tokens'] / run['scoring_cpu_s']:.0f}",
            f"{run['tokenise_cpu_s']:.2f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
