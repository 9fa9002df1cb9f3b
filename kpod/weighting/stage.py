"""Stage `weights`: train the token weighter (Eq. 2-7) and weigh every token of every kept rationale."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from kpod import observe, schemas
from kpod.config import Weights, collapsed
from kpod.errors import DataError, ModelError
from kpod.text.chat import resolve
from kpod.text.table import Column, Tokens, list_array
from kpod.text.tokens import token_spans
from kpod.training import models
from kpod.training.examples import Positions
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.weighting import network
from kpod.weighting.batch import collate
from kpod.weighting.build import build_predictor, build_weighter, one_row_a_prefix, predictor_precision, resolved
from kpod.weighting.classes import CLASSES, classify
from kpod.weighting.examples import Examples, predictor_form, texts_of, usable, with_segments
from kpod.weighting.infer import by_rule, infer
from kpod.weighting.train import Training

_ROWS = 65_536  # rationales written at a time
_CLASSIFIED = 2_000  # rationales whose tokens are classified for the means by class


def run(inputs: Mapping[str, Path], config: Weights, out_dir: Path) -> dict[str, float]:
    """`rationales`, `tokens` and `base` -> `weights.parquet` (schemas.WEIGHTS) and `weighter/`.

    A predictor with its own tokenizer also reads `questions`. Returns counts, the means of the last epoch, the mean
    weight of each class of tokens (over at most 2,000 rationales), and `collapsed` (0 or 1). Raises DataError if no
    rationale is usable, ModelError if the loss is not finite. With several `processes` the batches are split over ranks
    of torchrun that are started and ended here.
    """
    return launch(weigh, inputs, config, out_dir, "rationale")


def weigh(inputs: Mapping[str, Path], config: Weights, out_dir: Path) -> dict[str, float]:
    """As `run`, in this process, which is one of the `ranks()`; rank 0 writes and returns the figures."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    tokens, folder = Tokens.read(inputs["tokens"]), inputs["base"] / "student"
    figures: dict[str, float] = {}
    if config.source == "rule":
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        examples, rejected = _usable(tokens, config, tokenizer.unk_token_id)
        weights = _ruled(examples, tokenizer, inputs, config)
    else:
        config = resolved(folder, config)
        # The student is the predictor, or only its embedding is used.
        student, tokenizer = models.load(folder, config.precision if config.predictor else predictor_precision(config))
        embedding = student.get_input_embeddings()
        if config.weighter is not None:
            weighter = network.load(config.weighter)
            if weighter.width != embedding.weight.shape[1]:
                raise ModelError(f"weights.weighter was trained for width {weighter.width}, the student has another")
            examples, rejected = _usable(tokens, config, tokenizer.unk_token_id)
            weighter = weighter.to(embedding.weight.device)
        else:
            predictor, reader = build_predictor(student, tokenizer, config)
            if reader is not tokenizer:
                tokens = with_segments(tokens, reader, predictor_form(reader, config.form), inputs["questions"])
            positions = models.positions(predictor.model)
            if positions:
                positions = replace(positions, apart=False)  # an encoder reads the rationale behind the question
            examples, rejected = _usable(tokens, config, reader.unk_token_id, positions)
            weighter = build_weighter(embedding, config)
            trial = examples.take(np.flatnonzero(tokens.visible[examples.rows])[:2])
            if trial:
                batch = collate(trial, 2, config.seed, 0, embedding.weight.device)
                predictor = one_row_a_prefix(predictor, batch, embedding(batch.rationale))
            figures = Training(examples, weighter, embedding, predictor, config, out_dir / "work").run()
        weights = infer(examples, weighter, embedding, config.batch_tokens)
        if writes:
            network.save(weighter, out_dir / "weighter")
    if writes:
        _write(out_dir, examples, weights, rejected)
    ranks().wait()
    if not writes:
        return {}
    figures |= _summary(examples, weights, tokenizer, inputs, config)
    return {"rationales": float(len(examples)), "quarantined": float(len(rejected)), **figures}


def _usable(
    tokens: Tokens, config: Weights, unknown: int | None, positions: Positions | None = None
) -> tuple[Examples, list[dict[str, str]]]:
    examples, rejected = usable(tokens, config.max_tokens, positions, unknown)
    if not examples:
        why = f"; first: {rejected[0]['reason']}" if rejected else ""
        raise DataError(f"weights: none of {len(tokens)} rationales is usable{why}")
    return examples, rejected


def _ruled(
    examples: Examples, tokenizer: PreTrainedTokenizerBase, inputs: Mapping[str, Path], config: Weights
) -> Column:
    texts, lead = texts_of(inputs["rationales"], examples), resolve(tokenizer, config.form).lead
    rows: list[np.ndarray] = []
    for at in range(0, len(texts), _CLASSIFIED):
        part = texts[at : at + _CLASSIFIED].to_pylist()
        rows += by_rule(part, [spans for _, spans in token_spans(tokenizer, part, lead)])
    return Column.of(rows, np.float32)


def _write(out_dir: Path, examples: Examples, weights: Column, rejected: list[dict[str, str]]) -> None:
    if rejected:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(rejected, schemas.QUARANTINE))
    tokens = examples.tokens
    with schemas.writing(out_dir / "weights.parquet", schemas.WEIGHTS) as write:
        for at in range(0, len(examples), _ROWS):
            rows, places = examples.rows[at : at + _ROWS], np.arange(len(examples))[at : at + _ROWS]
            sizes = tokens.rationale.size[rows]
            write(
                {
                    "question_id": tokens.keys.names.take(pa.array(tokens.keys.code[rows])),
                    "sample": tokens.keys.sample[rows],
                    "token_ids": list_array(tokens.rationale.flat(rows), sizes),
                    "step": list_array(tokens.step.flat(rows), sizes),
                    "weight": list_array(weights.flat(places), sizes),
                }
            )


def _summary(
    examples: Examples, weights: Column, tokenizer: PreTrainedTokenizerBase, inputs: Mapping[str, Path], config: Weights
) -> dict[str, float]:
    """Mean weight of all tokens and by class; warns of a collapse if it is near 0 or 1."""
    mean = float(weights.values.mean(dtype=np.float64))
    if collapsed(mean):
        observe.warning(
            f"weights: collapsed to a mean of {mean:.3f}, so distill will train with weights of 1; "
            f"{'lower' if mean < 0.5 else 'raise'} weights.alpha, or train longer"
        )
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), _CLASSIFIED)).astype(np.int64))
    texts = texts_of(inputs["rationales"], examples.take(chosen)).to_pylist()
    placed = token_spans(tokenizer, texts, resolve(tokenizer, config.form).lead)
    kind = np.array([name for text, (_, spans) in zip(texts, placed, strict=True) for name in classify(text, spans)])
    flat = weights.flat(chosen)
    by_class = {f"weight_{name}": float(flat[kind == name].mean()) for name in CLASSES if (kind == name).any()}
    return {"tokens": float(len(weights.values)), "weight": mean, **by_class, "collapsed": float(collapsed(mean))}
