"""Stage `distill`: rationales, weights and curriculum in; `student/` and `history.parquet` out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

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
from kpod.text.groups import Key
from kpod.text.rationales import Rationale, read_rationales
from kpod.text.table import Tokens
from kpod.training import models
from kpod.training.adapter import merged
from kpod.training.examples import Example, Examples, reject, sizes_of, usable, within
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.training.turns import Turns, allowed
from kpod.training.weights import pruned, read_weights, weighted


def run(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """Distil the student of `inputs["base"]` on the kept rationales (Eq. 15 and the answer term of Eq. 1).

    Reads the folders of `tokens` and `base`; of `weights` with `token_weights`, of `curriculum` with `progressive`;
    of `questions` with `validation`; of `questions`, `rationales` and `steps` for a method that makes records of its
    own. A rationale that is too long, has no weights or is missing in the curriculum goes to `quarantine.parquet` with
    the reason. Steps without a keypoint (`prune_steps`) are left out. Weights whose mean is near 0 or 1 are
    replaced by ones, with a warning. A LoRA adapter is merged into `student/`, and with `adapter.keep` also written to
    `adapter/`. With `validation` the student is that of the best epoch, and validation.json has the right answers after
    each. Figures are those of the training (`target_tokens`, `cpu_seconds` of all processes and `wall_seconds`, both
    over all attempts) and of its data. Raises DataError if no rationale is left. With several `processes`, or a config
    file of `accelerate`, the work is done by ranks that are started and ended here.
    """
    return launch(distil, inputs, config, out_dir, "token")


def distil(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """`run` in this process, as one of its `ranks()`; the first of them writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    # Only the first rank of a sharded run reads the weights, into main memory; FSDP hands them out.
    where = torch.device("cpu" if writes else "meta") if config.sharding and ranks().world > 1 else None
    # What is trained is fp32. What LoRA freezes needs no more digits than are computed with, but FSDP wants one type.
    frozen = isinstance(config.adapter, Lora) and not config.sharding
    quantised = isinstance(config.adapter, Lora) and config.adapter.quantize is not None
    base, precision = inputs["base"] / "student", config.precision if frozen else "fp32"
    model, tokenizer = models.load(base, precision, config.attn_implementation, quantised, where)
    form = resolve(tokenizer, config.form)
    if writes and form.kind == "chat" and config.form.prompt.kind is None:
        observe.warning(f"distill: {CHOSEN}")
    tokens = Tokens.read(inputs["tokens"])
    examples, rejected = usable(tokens, config.max_tokens, models.positions(model))
    # Counted before weights, curriculum and samples leave anything out: all methods of a run are allowed the same.
    target_tokens = allowed(config.budget, examples.targets, Turns(examples.questions.tolist()))
    if config.samples:
        examples = examples.first(config.samples)
    if config.token_weights and examples:
        examples, more = _weigh(examples, config, inputs["weights"])
        rejected += more
    follows = config.progressive and "curriculum" in inputs  # without one where its T is 0
    plan = read_plan(inputs["curriculum"], tokens.keys) if follows else None
    if plan:
        planned = plan.whole[examples.rows]
        rejected += [reject(examples.key(i), "not in curriculum.parquet") for i in np.flatnonzero(~planned).tolist()]
        examples = examples.take(planned)
    data = StudentData(tokenizer, examples, _Texts(inputs), inputs, form)
    steps = plan.input_steps[:, examples.rows] if plan else None
    records, more = objective_of(config).make_examples(data, config)
    records, long = within(records, models.positions(model))  # records may be longer than what they are made of
    rejected += more + long
    if rejected and writes:
        observe.warning(f"distill: {len(rejected)} rationales cannot be used, see quarantine.parquet")
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not records:
        raise DataError(f"no rationale can be trained on ({len(rejected)} rejected): see quarantine.parquet")
    validator = None
    if config.validation:
        table = schemas.read(inputs["questions"] / "questions.parquet", schemas.QUESTIONS)
        asked = questions_of(table, config.validation.questions)
        validator = Validator(asked, tokenizer, config.validation, form)
    ended = train(model, tokenizer, records, config, steps, out_dir / "work", validator, target_tokens)
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
    rationales, questions = _counted(records)
    return {
        "loss": history[-1]["loss"],
        "target_tokens": ended.done,
        "epochs": ended.epoch,
        "cpu_seconds": ended.cpu_seconds,
        "wall_seconds": ended.wall_seconds,
        "examples": len(records),
        "questions": questions,
        "rationales_a_question": rationales / questions,
        "target_tokens_a_rationale": float(np.mean(sizes_of(records)[1])),
        "quarantined": len(rejected),
        **chosen,
    }


class _Texts(Mapping[Key, Rationale]):
    """The kept rationales by key, read when a method asks for one."""

    def __init__(self, inputs: Mapping[str, Path]) -> None:
        self._inputs = inputs

    @cached_property
    def _found(self) -> dict[Key, Rationale]:
        folders = (self._inputs[name] for name in ("questions", "rationales", "steps"))
        return {one.key: one for one in read_rationales(*folders)}

    def __getitem__(self, key: Key) -> Rationale:
        return self._found[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _counted(records: Sequence[Example]) -> tuple[int, int]:
    """Numbers of rationales and of questions."""
    if isinstance(records, Examples):
        return len(records), len(np.unique(records.questions))
    return len({row.key for row in records}), len({row.key[0] for row in records})


def _weigh(examples: Examples, config: Distill, folder: Path) -> tuple[Examples, list[dict[str, str]]]:
    """The examples with the weights of Eq. 15, or with ones if those that were learnt have collapsed."""
    weights = read_weights(folder, examples.tokens)
    raw, rejected = weighted(examples, weights)
    if raw and collapsed(mean := raw.mean_weight()):
        observe.warning(
            f"distill: the mean token weight is {mean:.3f}, so the weights say nothing: all tokens weigh 1, as in"
            " kpod-wo-sig; see the stage weights"
        )
        return Examples(raw.tokens, raw.rows), rejected
    found, _ = weighted(examples, weights, config.weight_floor, config.weight_scale)
    shorter = pruned(found, weights[0], config.prune_steps)
    if found and shorter.targets.sum() < found.targets.sum() / 2:
        observe.warning("distill: weights would leave out half of the rationales' tokens, so no step is left out")
        shorter = found
    return shorter, rejected
