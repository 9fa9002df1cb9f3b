"""Why distillation does not lift the demo's student: what it gets right of questions it was trained on, and of others.

    python bench/demo_limits.py --work DIR [--base '{problems: 16000, ...}'] [--runs '[{questions: 1600}]']

`--base` are settings of `student` (kind scratch), `--runs` settings of `distill` and of the data: `questions` (360),
`filler` (0.7). Every run adds a row to bench/results/demo_limits.json. Wrong answers are sorted by their first wrong
equation: another operation, another operand, a wrong sum, or too few or too many steps. One thread, no orchestrator;
the student is plain distillation's (w = 1, whole rationales).
"""

import argparse
import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod.config import Distill, ScratchStudent, ScriptedEndpoint, WordProblems
from kpod.evaluate import answers_equal, extract_answer
from kpod.evaluate.generate import generate
from kpod.questions import wordproblems
from kpod.student.pretrain import pretrain
from kpod.teacher.scripted import Scripted
from kpod.text.prompts import prompt
from kpod.text.tokens import answer_ids, prompt_ids
from kpod.training import models
from kpod.training.examples import Example, example
from kpod.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "demo_limits.json"
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")
SAMPLES = 5  # rationales asked for at most, until one is right
Question = tuple[str, str, str]  # id, question, gold


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--base", default="{}")
    parser.add_argument("--runs", default="[{}]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = ScratchStudent.model_validate(yaml.safe_load(options.base))
    folder = based(settings, options.work)
    asked = sets(WordProblems())
    easy = [(f"e{i}", q, a) for i, (q, _, a) in enumerate(wordproblems.easy(200, seed=77))]
    told = {"base": {k: v for k, v in settings.model_dump().items() if v != getattr(ScratchStudent(), k)}}
    record({**told, "run": None, "easy": score(folder, easy, options.work), **all_scores(folder, asked, options.work)})
    for run in yaml.safe_load(options.runs):
        own = dict(run)
        taught = lessons(own.pop("questions", 360), own.pop("filler", 0.7))
        student, loss = distilled(folder, taught, own, options.work)
        seen = {"train": [(name, question, answer) for name, question, _, answer in taught][:120]}
        record({**told, "run": run, "loss": loss, **all_scores(student, {**seen, **asked}, options.work)})


def based(settings: ScratchStudent, work: Path) -> Path:
    """The folder of the student before distillation, pretrained unless an earlier call did it."""
    folder = work / f"base-{hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]}"
    if not (folder / "config.json").exists():
        model, tokenizer, _ = pretrain(settings, fresh(work / "pretraining"))
        models.save(model, tokenizer, folder)
    return folder


def sets(config: WordProblems) -> dict[str, list[Question]]:
    """The demo's test questions, in and out of distribution."""
    rows = [row for row in wordproblems.generate(config) if row["split"] == "test"]
    named = {"test": "wordproblems", "longer": "wordproblems-longer"}
    return {
        name: [(str(r["id"]), str(r["question"]), str(r["answer"])) for r in rows if r["dataset"] == dataset]
        for name, dataset in named.items()
    }


def lessons(count: int, filler: float) -> list[tuple[str, str, str, str]]:
    """(id, question, rationale, answer) of `count` training questions, those left out that the teacher gets wrong."""
    teacher, found = Scripted(ScriptedEndpoint(filler=filler)), []
    for row in wordproblems.generate(WordProblems(train=count)):
        question, gold = str(row["question"]), str(row["answer"])
        for sample in range(SAMPLES if row["split"] == "train" else 0):
            rationale, _, answer = teacher.answer(prompt(question), sample).rpartition(" The answer is ")
            if answer.rstrip(".") == gold:
                found.append((f"{row['id']}/{sample}", question, rationale, gold))
                break
    return found


def distilled(
    base: Path, taught: list[tuple[str, str, str, str]], settings: dict[str, Any], work: Path
) -> tuple[Path, float]:
    """The folder of a student trained on `taught`, and its mean loss over the last epoch."""
    model, tokenizer = models.load(base)
    config = Distill.model_validate({"token_weights": False, "progressive": False, **settings})
    history = train(model, tokenizer, examples(tokenizer, taught), config, None, fresh(work / "training")).history
    models.save(model, tokenizer, fresh(work / "student"))
    last = [row["loss"] for row in history if row["epoch"] == history[-1]["epoch"]]
    return work / "student", round(sum(last) / len(last), 3)


def examples(tokenizer: PreTrainedTokenizerBase, taught: list[tuple[str, str, str, str]]) -> list[Example]:
    ids = tokenizer([f" {rationale}" for _, _, rationale, _ in taught], add_special_tokens=False)["input_ids"]
    return [
        example((name, 0), prompt_ids(tokenizer, question), row, answer_ids(tokenizer, answer))
        for (name, question, _, answer), row in zip(taught, ids, strict=True)
    ]


def all_scores(folder: Path, asked: dict[str, list[Question]], work: Path) -> dict[str, Any]:
    return {name: score(folder, questions, work) for name, questions in asked.items()}


def score(folder: Path, questions: list[Question], work: Path) -> dict[str, Any]:
    """Accuracy in all and by number of steps, and what the first mistake was."""
    model: PreTrainedModel
    model, tokenizer = models.load(folder)
    asked = [(name, question, None) for name, question, _ in questions]
    told = generate(model, tokenizer, asked, 64, 160, fresh(work / "answers"))
    right: Counter[int] = Counter()
    every: Counter[int] = Counter()
    mistakes: Counter[str] = Counter()
    for name, question, gold in questions:
        worked = wordproblems.work_out(question)
        assert worked is not None, question
        correct = answers_equal(extract_answer(told[name].text), gold)
        right[len(worked.steps)] += correct
        every[len(worked.steps)] += 1
        if not correct:
            mistakes[mistake(" ".join(worked.steps), told[name].text)] += 1
    by_steps = {str(steps): f"{right[steps]}/{every[steps]}" for steps in sorted(every)}
    accuracy = round(right.total() / every.total(), 4)
    return {
        "accuracy": accuracy,
        "questions": every.total(),
        "by_steps": by_steps,
        "mistakes": dict(mistakes.most_common()),
    }


def mistake(gold: str, text: str) -> str:
    """What is wrong with the first equation that is not the gold rationale's."""
    wanted, written = EQUATION.findall(gold), EQUATION.findall(text)
    for right, own in zip(wanted, written, strict=False):
        if own[:3] == right[:3] and own != right:
            return "sum"
        if own != right:
            return "operation" if own[1] != right[1] else "operand"
    return "too few steps" if len(written) < len(wanted) else "too many steps"


def record(row: dict[str, Any]) -> None:
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    same = [old for old in rows if (old["base"], old["run"]) == (row["base"], row["run"])]
    rows = [old for old in rows if old not in same] + [row]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(
        {
            key: value["accuracy"] if isinstance(value, dict) and "accuracy" in value else value
            for key, value in row.items()
        },
        flush=True,
    )


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
