"""Training of a student by the objective of its settings."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kpod.config import Distill, Lora
from kpod.errors import DataError
from kpod.methods import objective_of
from kpod.methods.task import StudentTask, Validator
from kpod.store.keys import identity
from kpod.training.adapter import trainable
from kpod.training.engine import Engine
from kpod.training.examples import Example, Examples, arranged
from kpod.training.ranks import ranks
from kpod.training.task import Position
from kpod.training.turns import Turns, allowed


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: Distill,
    input_steps: np.ndarray | None,
    work: Path,
    validator: Validator | None = None,
    target_tokens: int | None = None,
    name: str = "distill",
) -> Position:
    """Train `model` in place; returns the final position, with a row of history for each step.

    The weights must be fp32 (see `models.load`), or bf16 if they are frozen under LoRA, which leaves the model merged,
    in fp32, in main memory. Training ends with the step that spends `config.budget`; a budget in tokens of plain
    distillation allows `target_tokens`, by default those of `examples`. `input_steps`, int [stages, examples]: c_i(t)
    of Eq. 15; None: the student generates every rationale whole. Epochs after the last stage are like it.

    The loss of a step is that of `config.objective`, by default Eq. 15, normalised by the target tokens of its
    `config.batch_size` examples, so that neither `micro_batch` nor padding changes it. The order of rows depends on
    `(seed, epoch)`, not on the order of `examples`. Checkpoints are written to `work`; a call with the same arguments
    after a kill continues from the last one. An adapter that is kept, or whose base is quantised, is left in
    `work/adapter`. With a `validator` the model ends with the weights of the best epoch, else of the last. `name`
    labels the progress bar.

    Raises DataError without examples, ModelError for a model that cannot be trained or a loss that is not finite.
    """
    if not examples:
        raise DataError("there is no example to train on: see the counts of the stages before")
    table = examples if isinstance(examples, Examples) else Examples.of(examples)
    rows, input_tokens = arranged(table, input_steps)
    if target_tokens is None:
        target_tokens = allowed(config.budget, rows.targets, Turns(rows.questions))
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # initialises LoRA
        # Computed by the first rank: it alone has the weights of a sharded student.
        own = _fingerprint(model, rows, input_tokens, target_tokens, config) if ranks().writes else ""
        fingerprint = ranks().first(own)
        objective = objective_of(config)(rows, input_tokens, config)
        adapter = config.adapter
        keeps = isinstance(adapter, Lora) and bool(adapter.keep or adapter.quantize) and ranks().writes
        with trainable(model, config, work / "adapter" if keeps else None):
            task = StudentTask(model, tokenizer, objective, target_tokens, fingerprint, validator, work, name)
            return Engine(task, work, config.checkpoint_seconds).run()


def _fingerprint(model: PreTrainedModel, rows: Examples, input_tokens: np.ndarray, limit: int, config: Distill) -> str:
    """Hex sha256 of everything that decides the result of a run: settings, data, curriculum and initial weights."""
    digest = hashlib.sha256(json.dumps([identity(config), limit, rows.digest()], sort_keys=True).encode())
    digest.update(rows.forms.tobytes())
    digest.update(input_tokens.tobytes())
    for value in model.parameters():
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
