"""Stage `distill`: rationales, weights and curriculum in; `student/` and `history.parquet` out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kpod import observe, schemas
from kpod.config import Distill, Lora, collapsed
from kpod.distill import points
from kpod.distill.plan import read_plan
from kpod.distill.validation import Validator, questions_of
from kpod.errors import DataError
from kpod.methods import StudentData, objective_of
from kpod.methods.train import train
from kpod.store.files import publish, write_text
from kpod.text.formats import CHOSEN, resolve
from kpod.text.tokens import distinct, read_rationales
from kpod.training import models
from kpod.training.adapter import merged
from kpod.training.examples import (
    Example,
    build,
    first_samples,
    mean_weight,
    pruned,
    read_weights,
    reject,
    weighted,
    within,
)  # fmt: skip
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.training.turns import Turns, allowed


def run(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """Distil the student of `inputs["base"]` on the kept rationales (Eq. 15 and the answer term of Eq. 1).

    Reads the folders of `questions`, `rationales`, `steps` and `base`; of `weights` with `token_weights`, of
    `curriculum` with `progressive`. A rationale that is too long, has no weights, is missing in the curriculum or is
    a near-copy of another of its question goes to `quarantine.parquet` with the reason. Steps in which no token has the
    weight `prune_steps` are left out. Weights whose mean is near 0 or 1 are replaced by ones, with a warning. A LoRA
    adapter is merged into `student/`, and with `adapter.keep` also written to `adapter/`. With `validation` the student
    is that of the best epoch, and validation.json has the right answers after each. Figures are those of the training
    (`target_tokens`, `cpu_seconds` of all processes and `wall_seconds`, both over all attempts) and of its data. Raises
    DataError if no rationale is left. With several `processes`, or a config file of `accelerate`, the work is done by
    ranks that are started and ended here.
    """
    return launch(distil, inputs, config, out_dir, "token")


def distil(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """`run` in this process, as one of its `ranks()`; the first of them writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    # What is trained is fp32. What LoRA freezes needs no more digits than are computed with, but FSDP wants one type.
    frozen = isinstance(config.adapter, Lora) and not config.sharding
    quantised = isinstance(config.adapter, Lora) and config.adapter.quantize is not None
    base, precision = inputs["base"] / "student", config.precision if frozen else "fp32"
    model, tokenizer = models.load(base, precision, config.attn_implementation, quantised)
    rationales, copies = distinct(read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"]))
    form = resolve(tokenizer, config.form)
    if writes and form.kind == "chat" and config.form.prompt.kind is None:
        observe.warning(f"distill: {CHOSEN}")
    examples, rejected = build(tokenizer, rationales, config.max_tokens, models.positions(model), form)
    rejected += [reject(*copy) for copy in copies]
    # Counted before weights, curriculum and samples leave anything out: all methods of a run are allowed the same.
    lengths = np.array([len(example.target) for example in examples])
    target_tokens = allowed(config.budget, lengths, Turns([example.key[0] for example in examples]))
    if config.samples:
        examples = first_samples(examples, config.samples)
    if config.token_weights and examples:
        examples, more = _weigh(examples, config, inputs["weights"])
        rejected += more
    plan = read_plan(inputs["curriculum"]) if config.progressive else None
    if plan:
        rejected += [
            reject(example.key, "not in curriculum.parquet") for example in examples if example.key not in plan.steps
        ]
        examples = [example for example in examples if example.key in plan.steps]
    data = StudentData(tokenizer, examples, {rationale.key: rationale for rationale in rationales}, inputs, form)
    examples, more = objective_of(config).make_examples(data, config)
    examples, long = within(examples, models.positions(model))  # records may be longer than what they are made of
    rejected += more + long
    if rejected and writes:
        observe.warning(f"distill: {len(rejected)} rationales cannot be used, see quarantine.parquet")
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not examples:
        raise DataError(f"no rationale can be trained on ({len(rejected)} rejected): see quarantine.parquet")
    validator = None
    if config.validation:
        asked = questions_of(list(data.questions.values()), config.validation.questions)
        validator = Validator(asked, tokenizer, config.validation, form)
    steps = plan.steps if plan else None
    ended = train(model, tokenizer, examples, config, steps, out_dir / "work", validator, target_tokens)
    history = ended.history
    if plan and plan.difficulty:
        reached = plan.difficulty
        history = [{**row, "difficulty": reached[min(row["epoch"], len(reached) - 1)]} for row in history]
    if writes:
        schemas.write(out_dir / "history.parquet", schemas.table(history, schemas.HISTORY))
        trained = merged(base, out_dir / "work" / "adapter") if quantised else model
        models.save(trained, tokenizer, out_dir / "student")
        if isinstance(config.adapter, Lora) and config.adapter.keep:
            publish(out_dir / "work" / "adapter", out_dir / "adapter")
        if validator:
            write_text(out_dir / points.FILE, points.written(validator.points))
    chosen = {}
    if validator:
        kept = points.best(validator.points)
        chosen = {"kept_epoch": kept.epoch, "kept_tokens": kept.tokens, "validation_accuracy": kept.accuracy}
    questions = len({example.key[0] for example in examples})
    return {
        "loss": history[-1]["loss"],
        "target_tokens": ended.done,
        "epochs": ended.epoch,
        "cpu_seconds": ended.cpu_seconds,
        "wall_seconds": ended.wall_seconds,
        "examples": len(examples),
        "questions": questions,
        "rationales_a_question": len({example.key for example in examples}) / questions,
        "target_tokens_a_rationale": float(np.mean([len(example.target) for example in examples])),
        "quarantined": len(rejected),
        **chosen,
    }


def _weigh(examples: list[Example], config: Distill, folder: Path) -> tuple[list[Example], list[dict[str, str]]]:
    """The examples with the weights of Eq. 15, or with ones if those that were learnt have collapsed."""
    weights = read_weights(folder)
    raw, rejected = weighted(examples, weights)
    if raw and collapsed(mean := mean_weight(raw)):
        observe.warning(
            f"distill: the mean token weight is {mean:.3f}, so the weights say nothing: all tokens weigh 1, as in"
            " kpod-wo-sig; see the stage weights"
        )
        known = {example.key for example in raw}
        return [example for example in examples if example.key in known], rejected
    found, rejected = weighted(examples, weights, config.weight_floor, config.weight_scale)
    return pruned(found, weights, config.prune_steps), rejected
