"""Stage `difficulty` (Eq. 8): how hard each step is for the student before distillation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from kpod import observe, schemas
from kpod.config import Difficulty
from kpod.errors import DataError
from kpod.text.table import Column, Tokens
from kpod.text.tokens import batches_of
from kpod.training import models
from kpod.training.batches import collate, decoder_start
from kpod.training.examples import Examples, usable
from kpod.training.head import TargetNll
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.training.weights import read_weights, weighted

_ROWS = 65_536  # rationales written at a time


def run(inputs: Mapping[str, Path], config: Difficulty, out_dir: Path) -> dict[str, float]:
    """Compute d_k (Eq. 8, nats) of every step of every kept rationale: writes difficulty.parquet (schemas.DIFFICULTY).

    Reads `tokens`, `base` and, unless `weighting` is uniform, `weights`. Rationales that are too long or have no
    weights are quarantined. Raises DataError if none is left. With several `processes` the batches are split over
    ranks of torchrun that are started and ended here.
    """
    return launch(score, inputs, config, out_dir, "rationale")


def score(inputs: Mapping[str, Path], config: Difficulty, out_dir: Path) -> dict[str, float]:
    """As `run`, in this process, which is one of the `ranks()`; rank 0 writes and returns the figures."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    model, tokenizer = models.load(inputs["base"] / "student", config.precision)
    tokens = Tokens.read(inputs["tokens"])
    examples, rejected = usable(tokens, config.max_tokens, models.positions(model))
    if config.weighting != "uniform":
        examples, more = weighted(examples, read_weights(inputs["weights"], tokens))
        rejected += more
    if rejected and writes:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not examples:
        raise DataError(f"difficulty: no rationale can be scored ({len(rejected)} rejected): see quarantine.parquet")
    losses = token_losses(model, tokenizer.pad_token_id, examples, config.batch_tokens)
    if not writes:
        return {}
    total = 0.0
    with schemas.writing(out_dir / "difficulty.parquet", schemas.DIFFICULTY) as write:
        for at in range(0, len(examples), _ROWS):
            part = examples[at : at + _ROWS]
            steps = tokens.steps[part.rows].astype(np.int64)
            values, counts = difficulties(part, losses.take(np.arange(at, at + len(part))), steps, config)
            total += float(values.sum())
            rows = np.repeat(part.rows, steps)
            write(
                {
                    "question_id": tokens.keys.names.take(pa.array(tokens.keys.code[rows])),
                    "sample": tokens.keys.sample[rows],
                    "step": (np.arange(len(values)) - np.repeat(np.cumsum(steps) - steps, steps)).astype(np.int32),
                    "difficulty": values.astype(np.float32),
                    "tokens": counts.astype(np.int32),
                }
            )
    return {
        "rationales": len(examples),
        "difficulty_mean": total / int(tokens.steps[examples.rows].sum()),
        "difficulty_total": total,
        "quarantined": len(rejected),
    }


def difficulties(
    examples: Examples, losses: Column, steps: np.ndarray, config: Difficulty
) -> tuple[np.ndarray, np.ndarray]:
    """d_k of Eq. 8 (float64) and number of tokens (int64) of every step, rationale after rationale, [sum(steps)] each.

    `losses`: a row for each example, a value in nats for each token of the rationale; `steps`: int [len(examples)].
    """
    rows, tokens = examples.rows, examples.tokens
    nll = losses.flat(np.arange(len(examples)))
    weight = np.ones(len(nll), np.float32) if examples.weight is None else examples.weight.flat(rows)
    place = tokens.step.flat(rows) + np.repeat(np.cumsum(steps) - steps, tokens.step.size[rows])
    total = int(steps.sum())
    return step_difficulty(nll, weight, place, total, config), np.bincount(place, minlength=total)


def step_difficulty(
    nll: np.ndarray, weight: np.ndarray, step: np.ndarray, steps: int, config: Difficulty
) -> np.ndarray:
    """d_k of Eq. 8 for each of `steps` steps, float64 [steps] in nats; a step without a token has difficulty 0.

    `nll`, `weight` (float) and `step` (int) are [n], one entry a token. The weights are normalised within each step:
    softmax (Eq. 8), w / sum(w), or equal.
    """
    if config.weighting == "softmax":
        # The step's largest taken out changes no share, and a tiny temperature neither overflows nor empties a step.
        scaled = weight.astype(np.float64) / config.temperature
        largest = np.full(steps, -np.inf)
        np.maximum.at(largest, step, scaled)
        raw = np.exp(scaled - largest[step])
    elif config.weighting == "normalised":
        raw = weight.astype(np.float64) + 1e-300  # weights that are all zero share equally
    else:
        raw = np.ones(len(weight))
    total = np.bincount(step, weights=raw, minlength=steps)
    hard = np.bincount(step, weights=raw * nll, minlength=steps)
    return np.divide(hard, total, out=np.zeros(steps), where=total > 0)


@torch.inference_mode()
def token_losses(model: torch.nn.Module, pad: int, examples: Examples, batch_tokens: int) -> Column:
    """-log P(r_j | r_<j, x) in nats of the tokens of every rationale, float32, a row for each example.

    One forward pass scores all steps of a rationale. `pad` is the id of the padding token, `batch_tokens` the padded
    tokens of a batch. The batches, ordered by length, are split over the ranks; every rank returns all rows.
    """
    rank, world = ranks().rank, ranks().world
    start_id = decoder_start(model)  # type: ignore[arg-type]
    device = next(model.parameters()).device
    batches, losses = batches_of(examples.prompts + examples.targets, batch_tokens), TargetNll(model)
    size = examples.tokens.rationale.size[examples.rows]
    result = Column.zeros(size, np.float32)
    with observe.progress("difficulty", len(examples), "rationale") as bar:
        for turn in range(0, len(batches), world):
            for rows in batches[turn + rank : turn + rank + 1]:
                chosen = [examples[row] for row in rows.tolist()]
                batch = collate(chosen, [0] * len(rows), pad, start_id).to(device)
                result.put(rows, losses(batch)[~batch.answer].cpu().numpy())
            bar.advance(sum(map(len, batches[turn : turn + world])))
    if world > 1:
        result.values[:] = ranks().total(torch.from_numpy(result.values).to(device)).cpu().numpy()
    return result
