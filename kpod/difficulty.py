"""Stage `difficulty` (Eq. 8): how hard each step is for the student before distillation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from kpod import models, observe, schemas
from kpod.config import Difficulty
from kpod.distill.batches import collate, decoder_start, target_logits
from kpod.distill.examples import ANSWER, Example, build, read_weights
from kpod.errors import DataError
from kpod.sequences import read_rationales, split_by_tokens


def run(inputs: Mapping[str, Path], config: Difficulty, out_dir: Path) -> dict[str, float]:
    """Score every step of every kept rationale: writes difficulty.parquet.

    Reads `questions`, `rationales`, `steps`, `base` and, unless `weighting` is uniform, `weights`. Rationales that
    are too long or have no weights are quarantined. Raises DataError if none is left.
    """
    model, tokenizer = models.load(inputs["base"] / "student", config.precision)
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    weights = None if config.weighting == "uniform" else read_weights(inputs["weights"])
    examples, rejected = build(tokenizer, rationales, config.max_tokens, weights)
    if rejected:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    if not examples:
        raise DataError(f"difficulty: no rationale can be scored ({len(rejected)} rejected): see quarantine.parquet")
    losses = token_losses(model, tokenizer.pad_token_id, examples, config.batch_tokens)
    steps = {rationale.key: len(rationale.steps) for rationale in rationales}
    rows = []
    for example in examples:
        body = example.step != ANSWER
        step, nll = example.step[body], losses[example.key][body]
        found = step_difficulty(nll, example.weight[body], step, steps[example.key], config)
        counts = np.bincount(step, minlength=steps[example.key])
        for k, (value, tokens) in enumerate(zip(found, counts, strict=True)):
            question_id, sample = example.key
            rows.append(
                {"question_id": question_id, "sample": sample, "step": k, "difficulty": value, "tokens": int(tokens)}
            )
    schemas.write(out_dir / "difficulty.parquet", schemas.table(rows, schemas.DIFFICULTY))
    values = np.array([row["difficulty"] for row in rows])
    return {
        "rationales": len(examples),
        "difficulty_mean": float(values.mean()),
        "difficulty_total": float(values.sum()),
        "quarantined": len(rejected),
    }


def step_difficulty(
    nll: np.ndarray, weight: np.ndarray, step: np.ndarray, steps: int, config: Difficulty
) -> np.ndarray:
    """d_k of Eq. 8 for each of `steps` steps, float64 [steps]; a step without a token has difficulty 0.

    `nll`, `weight`, `step` are [n], one entry a token. The weights are turned into shares within each step:
    softmax (Eq. 8), w / sum(w), or equal shares.
    """
    if config.weighting == "softmax":
        # A softmax does not change with the maximum taken out, and a tiny temperature does not overflow.
        scaled = weight.astype(np.float64) / config.temperature
        raw = np.exp(scaled - (scaled.max() if len(scaled) else 0.0))
    elif config.weighting == "normalised":
        raw = weight.astype(np.float64)
    else:
        raw = np.ones(len(weight))
    total = np.bincount(step, weights=raw, minlength=steps)
    hard = np.bincount(step, weights=raw * nll, minlength=steps)
    return np.divide(hard, total, out=np.zeros(steps), where=total > 0)


@torch.inference_mode()
def token_losses(
    model: torch.nn.Module, pad: int, examples: list[Example], batch_tokens: int
) -> dict[tuple[str, int], np.ndarray]:
    """-log P(r_j | r_<j, x) of every target token, float64 [n] a rationale: one forward pass scores all its steps."""
    start = decoder_start(model)  # type: ignore[arg-type]
    device = next(model.parameters()).device
    result: dict[tuple[str, int], np.ndarray] = {}
    with observe.progress("difficulty", len(examples), "rationale") as bar:
        for rows in split_by_tokens(examples, batch_tokens):
            batch = collate(rows, [0] * len(rows), pad, start).to(device)
            logits = target_logits(model, batch).float()
            nll = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none").double().cpu().numpy()
            ends = np.cumsum([len(row.target) for row in rows])
            result |= {row.key: part for row, part in zip(rows, np.split(nll, ends[:-1]), strict=True)}
            bar.advance(len(rows))
    return result
