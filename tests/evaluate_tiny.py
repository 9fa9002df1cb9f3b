"""Students and question folders for the tests of evaluation."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from distill_tiny import STUDENTS, tokenizer
from segments import prompt_ids
from transformers import PreTrainedModel

from kpod import schemas
from kpod.training.models import save

END = "<eos>"
QUESTIONS = {
    "right": "Tom has 3 apples. He buys 4 more. How many?",
    "next": "How many legs has a cat?",
    "nothing": "So 3 + 4?",
    "endless": "He has 1. How many?",
    "long": "Tom buys 5 apples and eats 2. Then he buys 7 more, and 8 more. How many apples has he?",
}
SAID = {
    "right": f" So 3 + 4 = 7. Therefore, the answer is 7.{END}",
    "next": f" So 4. Therefore, the answer is 4. Q: How many? A: step by step the answer is 7.{END}",
    "nothing": END,
    "endless": " 1" + " 7" * 60,
    "long": f" So 3 + 7 = 10. So 10 + 8 = 18. So 18 apples are many. Therefore, the answer is 1,018.{END}",
}


@cache
def learned() -> PreTrainedModel:
    """A real model that has learned `SAID` by heart: in seconds, and through the very code of any other student."""
    tokens, model = tokenizer(), STUDENTS["llama"]()
    rows = []
    for name, question in QUESTIONS.items():
        prompt = prompt_ids(tokens, question)
        told = tokens(SAID[name], add_special_tokens=False)["input_ids"]
        rows.append((prompt + told, [-100] * len(prompt) + told))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        loss = model.train()(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 5e-3:
            break
    return model.eval()


def student(folder: Path, model: PreTrainedModel) -> Path:
    """A stage folder with a student."""
    save(model, tokenizer(), folder / "student")
    return folder


def questions(folder: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """A stage folder with questions.parquet."""
    usual = {"dataset": "tiny", "split": "test", "answer": "7", "choices": None}
    rows = rows or [{"id": name, "question": text} for name, text in QUESTIONS.items()]
    folder.mkdir(exist_ok=True)
    table = schemas.table([usual | row for row in rows], schemas.QUESTIONS)
    schemas.write(folder / "questions.parquet", table)
    return folder
