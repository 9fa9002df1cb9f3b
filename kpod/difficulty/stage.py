"""Stage `difficulty` (Eq. 8): how hard each step is for the student before distillation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kpod import observe, schemas
from kpod.config import Difficulty
from kpod.errors import DataError
from kpod.text.formats import resolve
from kpod.text.tokens import distinct, read_rationales, split_by_tokens
from kpod.training import models
from kpod.training.batches import collate, decoder_start
from kpod.training.examples import ANSWER, Example, Key, build, read_weights, reject, weighted
from kpod.training.head import TargetNll
from kpod.training.processes import launch
from kpod.training.ranks import ranks


def run(inputs: Mapping[str, Path], config: Difficulty, out_dir: Path) -> dict[str, float]:
    """Score every step of every kept rationale: writes difficulty.parquet.

    Reads `questions`, `rationales`, `steps`, `base` and, unless `weighting` is uniform, `weights`. Rationales that
    are too long or have no weights are quarantined. Raises DataError if none is left. With several `processes` the
    batches are shared out to ranks of torchrun that are started and ended here.
    """
    return launch(score, inputs, config, out_dir, "rationale")


def score(inputs: Mapping[str, Path], config: Difficulty, out_dir: Path) -> dict[str, float]:
    """`run` in this process, as one of its ranks; the first of them writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    model, tokenizer = models.load(inputs["base"] / "student", config.precision)
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    rationales, copies = distinct(rationales)
    examples, rejected = build(
        tokenizer, rationales, config.max_tokens, models.positions(model), resolve(tokenizer, config.form)
    )
    rejected += [reject(*copy) for copy in copies]
    if config.weighting != "uniform":
        examples, more = weighted(examples, read_weights(inputs["weights"]))
        rejected += more
    if rejected and writes:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not examples:
        raise DataError(f"difficulty: no rationale can be scored ({len(rejected)} rejected): see quarantine.parquet")
    losses = token_losses(model, tokenizer.pad_token_id, examples, config.batch_tokens)
    count = {rationale.key: len(rationale.steps) for rationale in rationales}
    steps = np.array([count[example.key] for example in examples])
    values, tokens = difficulties(examples, losses, steps, config)
    columns = {
        "question_id": np.repeat(np.array([example.key[0] for example in examples], dtype=object), steps),
        "sample": np.repeat(np.array([example.key[1] for example in examples], dtype=np.int32), steps),
        "step": (np.arange(len(values)) - np.repeat(np.cumsum(steps) - steps, steps)).astype(np.int32),
        "difficulty": values.astype(np.float32),
        "tokens": tokens.astype(np.int32),
    }
    if writes:
        schemas.write(out_dir / "difficulty.parquet", schemas.table(columns, schemas.DIFFICULTY))
    return {
        "rationales": len(examples),
        "difficulty_mean": float(values.mean()),
        "difficulty_total": float(values.sum()),
        "quarantined": len(rejected),
    }


def difficulties(
    examples: Sequence[Example], losses: Mapping[Key, np.ndarray], steps: np.ndarray, config: Difficulty
) -> tuple[np.ndarray, np.ndarray]:
    """d_k (float64) and number of tokens (int64) of every step of every rationale, in one vector each.

    `losses`: one float vector a rationale, an entry a target token; `steps`: int [len(examples)].
    """
    bodies = [example.step != ANSWER for example in examples]
    first = np.cumsum(steps) - steps
    place = np.concatenate([example.step[body] + at for example, body, at in zip(examples, bodies, first, strict=True)])
    nll = np.concatenate([losses[example.key][body] for example, body in zip(examples, bodies, strict=True)])
    weight = np.concatenate([example.weight[body] for example, body in zip(examples, bodies, strict=True)])
    total = int(steps.sum())
    return step_difficulty(nll, weight, place, total, config), np.bincount(place, minlength=total)


def step_difficulty(
    nll: np.ndarray, weight: np.ndarray, step: np.ndarray, steps: int, config: Difficulty
) -> np.ndarray:
    """d_k of Eq. 8 for each of `steps` steps, float64 [steps]; a step without a token has difficulty 0.

    `nll`, `weight`, `step` are [n], one entry a token. The weights are turned into shares within each step:
    softmax (Eq. 8), w / sum(w), or equal shares.
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
def token_losses(
    model: torch.nn.Module, pad: int, examples: Sequence[Example], batch_tokens: int
) -> dict[Key, np.ndarray]:
    """-log P(r_j | r_<j, x) of every target token, float32 [n] a rationale: one forward pass scores all its steps.

    The batches, ordered by length, are dealt out to the ranks; all get the whole.
    """
    rank, world = ranks().rank, ranks().world
    start = decoder_start(model)  # type: ignore[arg-type]
    device = next(model.parameters()).device
    batches, losses = split_by_tokens(examples, batch_tokens), TargetNll(model)
    found: list[tuple[Key, np.ndarray]] = []
    with observe.progress("difficulty", len(examples), "rationale") as bar:
        for turn in range(0, len(batches), world):
            for rows in batches[turn + rank : turn + rank + 1]:
                batch = collate(rows, [0] * len(rows), pad, start).to(device)
                nll = losses(batch).cpu().numpy()
                ends = np.cumsum([len(row.target) for row in rows])
                found += zip((row.key for row in rows), np.split(nll, ends[:-1]), strict=True)
            bar.advance(sum(map(len, batches[turn : turn + world])))
    return dict(ranks().collect(found))
