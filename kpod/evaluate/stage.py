"""Stage `evaluate`: a student answers the questions of some splits, and the answers are judged."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from kpod import schemas
from kpod.answers.verify import check
from kpod.config import Evaluate
from kpod.errors import DataError
from kpod.evaluate import vllm
from kpod.evaluate.accuracy import accuracies, accuracy, as_dict, by_steps
from kpod.evaluate.generate import Completion, fitting, generate, longest_prompt
from kpod.evaluate.judge import examine, prediction
from kpod.evaluate.page import page
from kpod.evaluate.served import ask
from kpod.observe import warning
from kpod.store.files import write_text
from kpod.text.chat import CHOSEN, resolve
from kpod.text.formats import PromptFormat
from kpod.text.prompts import answer_format
from kpod.training import models
from kpod.training.processes import launch
from kpod.training.ranks import ranks

Row = dict[str, Any]
UNASKED = Completion("", truncated=True)


def run(inputs: Mapping[str, Path], config: Evaluate, out_dir: Path) -> dict[str, float]:
    """Ask `inputs["student"]` the questions of `config.splits` with the training prompt, greedily.

    Writes predictions.parquet, metrics.json and report.html. A question that is too long for the student counts as
    truncated and wrong, so that all students are judged on the same questions. Questions without a gold answer and
    second rows with an id are quarantined. Raises DataError if the splits have no usable question. With several
    `processes` the batches are split over ranks of torchrun that are started and ended here. Returns accuracy, overall
    and by set, and counts.
    """
    return launch(evaluate, inputs, config, out_dir, "question")


def evaluate(inputs: Mapping[str, Path], config: Evaluate, out_dir: Path) -> dict[str, float]:
    """As `run`, in this process, which is one of the `ranks()`; rank 0 judges, writes and returns the figures."""
    check(config.verifier)
    table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
    questions, bad = _usable([row for row in table.to_pylist() if row["split"] in config.splits])
    if not questions:
        raise DataError(f"evaluate.splits: no usable question is in {', '.join(config.splits)}")
    if bad:
        warning(f"{len(bad)} questions are not asked, see quarantine.parquet")
    completions, too_long = _ask(inputs["student"] / "student", questions, config, out_dir / "work")
    if not ranks().writes:
        return {}
    stated = answer_format(config.form.answer.kind, config.form.answer.template)
    outcomes = [examine(row, completions[row["id"]], config.verifier, stated) for row in questions]
    rows = [prediction(row, completions[row["id"]], outcome) for row, outcome in zip(questions, outcomes, strict=True)]
    failed = [(row["id"], outcome.failure) for row, outcome in zip(questions, outcomes, strict=True) if outcome.failure]
    bad += [{"source": "predictions.parquet", "row": name, "reason": f"verifier: {reason}"} for name, reason in failed]
    if failed:
        warning(f"evaluate: the verifier failed on {len(failed)} answers, which count as wrong ({failed[0][1]}, ...)")
    if bad:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(bad, schemas.QUARANTINE))
    predictions = schemas.table(rows, schemas.PREDICTIONS)
    sets = accuracies("student", predictions)
    steps = by_steps("student", predictions, table)
    schemas.write(out_dir / "predictions.parquet", predictions)
    overall = accuracy("student", "all", "all", rows)
    metrics = {
        "overall": as_dict(overall),
        "sets": [as_dict(row) for row in sets],
        "steps": {str(count): as_dict(row) for count, row in steps.items()},
    }
    write_text(out_dir / "metrics.json", json.dumps(metrics, indent=1))
    write_text(out_dir / "report.html", page(sets, steps, rows))
    return {
        "accuracy": overall.accuracy,
        "truncated": overall.truncated,
        "answerless": overall.answerless,
        "questions": overall.questions,
        "quarantined": len(bad),
        "too_long": too_long,
        **(
            {"unverified": len(failed), "score": mean(outcome.score for outcome in outcomes)} if config.verifier else {}
        ),
        **{f"accuracy.{row.dataset}.{row.split}": row.accuracy for row in sets},
    }


def _usable(rows: list[Row]) -> tuple[list[Row], list[dict[str, str]]]:
    kept: dict[str, Row] = {}
    bad = []
    for row in rows:
        reason = "the id occurs twice" if row["id"] in kept else "" if row["answer"].strip() else "no answer"
        if reason:
            bad.append({"source": "questions.parquet", "row": row["id"], "reason": reason})
        else:
            kept[row["id"]] = row
    return list(kept.values()), bad


def _ask(folder: Path, questions: list[Row], config: Evaluate, work: Path) -> tuple[dict[str, Completion], int]:
    """Completions by id of the student in `folder`, and the number of questions that are too long."""
    model: PreTrainedModel | None = None
    if config.server or vllm.chosen(config, folder):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        shape: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    else:
        ranks()  # before a model is loaded, because each rank has a GPU of its own
        model, tokenizer = models.load(folder, config.precision, config.attn_implementation)
        shape = model.config
    form = resolve(tokenizer, config.form)
    short = _short(questions, tokenizer, shape, config, form)
    texts = [(row["id"], row["question"], row["choices"]) for row in short]
    if config.server:
        prompts = {name: form.sent_text(tokenizer, text, choices) for name, text, choices in texts}
        completions = ask(config.server, prompts, config.max_new_tokens, work, form.asks_on)
    elif model is None:
        completions = vllm.generate(folder, tokenizer, shape, texts, config, work, form)
    else:
        completions = generate(
            model, tokenizer, texts, config.batch_size, config.max_new_tokens, work, form=form, ranks=ranks()
        )
    return {row["id"]: completions.get(row["id"], UNASKED) for row in questions}, len(questions) - len(short)


def _short(
    questions: list[Row],
    tokenizer: PreTrainedTokenizerBase,
    shape: PretrainedConfig,
    config: Evaluate,
    form: PromptFormat,
) -> list[Mapping[str, Any]]:
    """The questions whose prompts are short enough for the settings and for the student."""
    if form.kind == "chat" and config.form.prompt.kind is None:
        warning(f"evaluate: {CHOSEN}")
    positions = longest_prompt(shape, config.max_new_tokens)
    limit = config.max_tokens if positions is None else min(config.max_tokens, positions)
    short = fitting(questions, tokenizer, limit, form)
    if too_long := len(questions) - len(short):
        warning(f"evaluate: {too_long} prompts are longer than {limit} tokens and count as wrong")
    return short
