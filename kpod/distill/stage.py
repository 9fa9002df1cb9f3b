"""Stage `distill`: rationales, weights and curriculum in; `student/` and `history.parquet` out."""

from collections.abc import Mapping
from pathlib import Path

from kpod import observe, schemas
from kpod.config import Distill, Lora
from kpod.distill import points
from kpod.distill.plan import read_plan
from kpod.distill.validation import Examiner, questions_of
from kpod.errors import DataError
from kpod.methods import Told, objective_of
from kpod.store.files import publish, write_text
from kpod.text.tokens import read_rationales
from kpod.training import models
from kpod.training.examples import build, read_weights, reject
from kpod.training.parallel import ranks
from kpod.training.processes import launch
from kpod.training.trainer import nothing_given, train


def run(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """Distil the student of `inputs["base"]` on the kept rationales (Eq. 15 and the answer term of Eq. 1).

    Reads the folders of `questions`, `rationales`, `steps` and `base`; of `weights` with `token_weights`, of
    `curriculum` with `progressive`. A rationale that is too long, has no weights or is missing in the curriculum
    goes to `quarantine.parquet` with the reason. A LoRA adapter is merged into `student/`, and with `adapter.keep`
    also written to `adapter/`. With `validation` the student is that of the best epoch, and validation.json has the
    right answers after each. Raises DataError if no rationale is left. With several `processes`, or a config file of
    `accelerate`, the work is done by ranks that are started and ended here.
    """
    return launch(distil, inputs, config, out_dir, "step")


def distil(inputs: Mapping[str, Path], config: Distill, out_dir: Path) -> dict[str, float]:
    """`run` in this process, as one of its `ranks()`; the first of them writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    model, tokenizer = models.load(inputs["base"] / "student")
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    weights = read_weights(inputs["weights"]) if config.token_weights else None
    examples, rejected = build(tokenizer, rationales, config.max_tokens, weights, config.weight_scale)
    plan = read_plan(inputs["curriculum"], config.epochs) if config.progressive else None
    if plan:
        rejected += [
            reject(example.key, "not in curriculum.parquet") for example in examples if example.key not in plan.steps
        ]
        examples = [example for example in examples if example.key in plan.steps]
    told = Told(tokenizer, examples, {rationale.key: rationale for rationale in rationales}, inputs)
    examples, more = objective_of(config).records(told, config)
    rejected += more
    if rejected and writes:
        observe.warning(f"distill: {len(rejected)} rationales cannot be used, see quarantine.parquet")
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not examples:
        raise DataError(f"no rationale can be trained on ({len(rejected)} rejected): see quarantine.parquet")
    examiner = None
    if config.validation:
        asked = questions_of(list(told.questions.values()), config.validation.questions)
        examiner = Examiner(asked, tokenizer, config.validation)
    given = plan.input_steps if plan else nothing_given
    history = train(model, tokenizer, examples, config, given, out_dir / "work", examiner)
    if plan and plan.difficulty:
        history = [{**row, "difficulty": plan.difficulty[row["epoch"]]} for row in history]
    if writes:
        schemas.write(out_dir / "history.parquet", schemas.table(history, schemas.HISTORY))
        models.save(model, tokenizer, out_dir / "student")
        if isinstance(config.adapter, Lora) and config.adapter.keep:
            publish(out_dir / "work" / "adapter", out_dir / "adapter")
        if examiner:
            write_text(out_dir / points.FILE, points.written(examiner.points))
    chosen = {}
    if examiner:
        kept = points.best(examiner.points)
        chosen = {"kept_epoch": kept.epoch, "kept_tokens": kept.tokens, "validation_accuracy": kept.accuracy}
    return {
        "loss": history[-1]["loss"],
        "target_tokens": history[-1]["tokens"],
        "examples": len(examples),
        "quarantined": len(rejected),
        **chosen,
    }
