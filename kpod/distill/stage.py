"""Stage `distill`: rationales, weights and curriculum in; `student/` and `history.parquet` out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod import observe, schemas
from kpod.config import Distill, Lora
from kpod.distill import points
from kpod.distill.plan import read_plan
from kpod.distill.validation import Validator, questions_of
from kpod.errors import DataError
from kpod.methods import StudentData, objective_of
from kpod.methods.train import train
from kpod.store.files import publish, write_text
from kpod.text.chat import CHOSEN, resolve
from kpod.text.formats import PromptFormat
from kpod.text.table import Tokens
from kpod.training import models
from kpod.training.adapter import merged
from kpod.training.examples import Examples, reject, usable, within
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.training.task import Position
from kpod.training.turns import Turns, allowed
from kpod.training.weights import weigh

HARDLY = 0.01  # below this share of the target tokens in steps that are left out, the run warns


def run(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """Distil the student of `inputs["base"]` on the kept rationales (Eq. 15 and the answer term of Eq. 1).

    Reads the folders of `tokens` and `base`; of `weights` with `token_weights`; of `curriculum` with `progressive`, if
    there is one; of `questions` with `validation`; of `questions`, `rationales` and `steps` for a method with its own
    records. A rationale that is too long, has no weights or is missing in the curriculum is quarantined. Steps without
    a keypoint (`keypoints`) are left out. Weights whose mean is near 0 or 1 are replaced by ones, with a warning. A
    LoRA adapter is merged into `student/`, and with `adapter.keep` also written to `adapter/`. With `validation` the
    student is that of the best epoch, and validation.json has the right answers after each.

    Returns figures of the training (`target_tokens`, `cpu_seconds` of all processes and `wall_seconds`, both over all
    attempts) and of its data. Raises DataError if no rationale is left. With several `processes`, or a config file of
    `accelerate`, the work is done by ranks that are started and ended here.
    """
    return launch(distil, inputs, config, out_dir, "token")


@dataclass(frozen=True)
class _Records:
    """The rows to train on."""

    rows: Examples
    input_steps: np.ndarray | None  # c_i(t), int [stages, rows]; None: no curriculum
    difficulty: Sequence[float] | None  # H(t) of each stage, if known
    target_tokens: int  # of the budget; 0 if it counts epochs
    left_out: float | None  # share of the target tokens, in steps without a keypoint; None: all steps are kept
    rejected: list[dict[str, str]]  # rows of schemas.QUARANTINE


def distil(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """As `run`, in this process, which is one of the `ranks()`; rank 0 writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    model, tokenizer = _load(inputs["base"] / "student", config)
    form = resolve(tokenizer, config.form)
    if writes and form.kind == "chat" and config.form.prompt.kind is None:
        observe.warning(f"distill: {CHOSEN}")
    records = _records(inputs, config, model, tokenizer, form)
    if records.rejected and writes:
        observe.warning(f"distill: {len(records.rejected)} rationales cannot be used, see quarantine.parquet")
        schemas.write(out_dir / "quarantine.parquet", schemas.table(records.rejected, schemas.QUARANTINE))
    if not records.rows:
        raise DataError(f"no rationale can be trained on ({len(records.rejected)} rejected): see quarantine.parquet")
    validator = None
    if config.validation:
        table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
        questions = questions_of(table, config.validation.questions)
        validator = Validator(questions, tokenizer, config.validation, form)
    work, rows = out_dir / "work", records.rows
    end = train(model, tokenizer, rows, config, records.input_steps, work, validator, records.target_tokens)
    if writes:
        schemas.write(out_dir / "history.parquet", schemas.table(_history(end, records), schemas.HISTORY))
        trained = merged(inputs["base"] / "student", work / "adapter") if config.quantised else model
        models.save(trained, tokenizer, out_dir / "student")
        if isinstance(config.adapter, Lora) and config.adapter.keep:
            publish(work / "adapter", out_dir / "adapter")
        if validator:
            write_text(out_dir / points.FILE, points.written(validator.points))
    return _figures(end, records, validator)


def _load(folder: Path, config: Distill) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The student before distillation: trained weights in fp32, those that LoRA freezes in `config.precision`."""
    # Only rank 0 of a sharded run reads the weights, into main memory; FSDP distributes them.
    sharded = config.sharding and ranks().world > 1
    where = torch.device("cpu" if ranks().writes else "meta") if sharded else None
    frozen = isinstance(config.adapter, Lora) and not config.sharding  # FSDP needs one dtype
    return models.load(
        folder, config.precision if frozen else "fp32", config.attn_implementation, config.quantised, where
    )


def _records(
    inputs: Mapping[str, Path],
    config: Distill,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    form: PromptFormat,
) -> _Records:
    """The usable rationales with weights and curriculum, as the records of the method."""
    tokens, positions = Tokens.read(inputs["tokens"]), models.positions(model)
    examples, rejected = usable(tokens, config.max_tokens, positions)
    # Counted before weights, curriculum and samples leave anything out, so that all methods have the same budget.
    target_tokens = allowed(config.budget, examples.targets, Turns(examples.questions))
    if config.samples:
        examples = examples.first(config.samples)
    left_out: float | None = None
    if config.token_weights and examples:
        weighed = weigh(examples, config, inputs["weights"])
        examples, left_out = weighed.examples, weighed.left_out if config.keypoints else None
        rejected += weighed.rejected
        if weighed.why_none and ranks().writes:
            observe.warning(f"distill: {weighed.why_none}")
        elif left_out is not None and left_out < HARDLY and ranks().writes:
            observe.warning(
                f"distill: steps without a keypoint have {left_out:.1%} of the target tokens, so hardly any is left"
                " out: see the report's token view, or try weights.source: rule"
            )
    follows = config.progressive and "curriculum" in inputs  # there is none if its T is 0
    plan = read_plan(inputs["curriculum"], tokens.keys) if follows else None
    if plan:
        planned = plan.whole[examples.rows]
        rejected += [reject(examples.key(i), "not in curriculum.parquet") for i in np.flatnonzero(~planned).tolist()]
        examples = examples.take(planned)
    data = StudentData(tokenizer, examples, inputs, form)
    rows = objective_of(config).make_examples(data, config)
    rows, long = within(rows, config.max_tokens, positions)  # records may be longer than their rationales
    steps = plan.input_steps[:, examples.rows] if plan else None
    return _Records(rows, steps, plan.difficulty if plan else None, target_tokens, left_out, rejected + long)


def _history(end: Position, records: _Records) -> list[dict[str, Any]]:
    """Rows of schemas.HISTORY, with the difficulty of each epoch's stage."""
    reached = records.difficulty
    if not reached:
        return end.history
    return [{**row, "difficulty": reached[min(row["epoch"], len(reached) - 1)]} for row in end.history]


def _figures(end: Position, records: _Records, validator: Validator | None) -> dict[str, float]:
    """Figures of the training, of its data, and of the epoch that was kept."""
    rows = records.rows
    rationales, questions = len(np.unique(rows.tokens.keys.rank[rows.rows])), len(np.unique(rows.questions))
    figures = {
        "loss": end.history[-1]["loss"],
        "target_tokens": end.done,
        "epochs": end.epoch,
        "cpu_seconds": end.cpu_seconds,
        "wall_seconds": end.wall_seconds,
        "examples": len(records.rows),
        "questions": questions,
        "rationales_a_question": rationales / questions,
        "target_tokens_a_rationale": float(np.mean(rows.targets)),
        "quarantined": len(records.rejected),
    }
    if records.left_out is not None:
        figures["left_out"] = records.left_out
    if validator:
        kept = points.best(validator.points)
        figures |= {"kept_epoch": kept.epoch, "kept_tokens": kept.tokens, "validation_accuracy": kept.accuracy}
    return figures
