"""Stage `weights`: train the token weighter (Eq. 2-7) and weigh every token of every kept rationale."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from kpod import observe, schemas
from kpod.config import Weights, collapsed
from kpod.errors import DataError, ModelError
from kpod.text.formats import resolve
from kpod.text.tokens import Rationale, token_spans
from kpod.training import models
from kpod.training.processes import launch
from kpod.training.ranks import ranks
from kpod.weighting import network
from kpod.weighting.batch import collate
from kpod.weighting.build import build_predictor, build_weighter, one_row_a_prefix, predictor_precision, resolved
from kpod.weighting.classes import CLASSES, classify
from kpod.weighting.examples import Example, Quarantined, predictor_form, read, tokenise
from kpod.weighting.infer import Weighted, by_rule, infer
from kpod.weighting.train import Training


def run(inputs: Mapping[str, Path], config: Weights, out_dir: Path) -> dict[str, float]:
    """`questions`, `rationales`, `steps` and `base` -> `weights.parquet` (schemas.WEIGHTS) and `weighter/`.

    Returns counts, the last epoch's means, the mean weight of each class of tokens, and `collapsed` (0 or 1).
    Raises DataError if no rationale is usable, ModelError if the loss is not finite. With several `processes` the
    batches are shared out to ranks of torchrun that are started and ended here.
    """
    return launch(weigh, inputs, config, out_dir, "rationale")


def weigh(inputs: Mapping[str, Path], config: Weights, out_dir: Path) -> dict[str, float]:
    """`run` in this process, as one of its ranks; the first of them writes."""
    writes = ranks().writes  # before a model is loaded, because each rank has a GPU of its own
    rationales, quarantined = read(inputs)
    folder = inputs["base"] / "student"
    figures: dict[str, float] = {}
    if config.source == "rule":
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        examples, dropped = _tokenise(rationales, tokenizer, config)
        known = {one.key: one.text for one in rationales}
        texts = [known[example.key] for example in examples]
        lead = resolve(tokenizer, config.form).lead
        ruled = by_rule(texts, [spans for _, spans in token_spans(tokenizer, texts, lead)])
        weights = {example.key: row for example, row in zip(examples, ruled, strict=True)}
    elif config.weighter is not None:
        student, tokenizer = models.load(folder)
        embedding = student.get_input_embeddings()
        weighter = network.load(config.weighter)
        if weighter.width != embedding.weight.shape[1]:
            raise ModelError(f"weights.weighter was trained for width {weighter.width}, the student has another")
        examples, dropped = _tokenise(rationales, tokenizer, config)
        weights = infer(examples, weighter.to(embedding.weight.device), embedding, config.batch_tokens)
        if writes:
            network.save(weighter, out_dir / "weighter")
    else:
        config = resolved(folder, config)
        # The student is the predictor, or gives nothing but its embedding to be read.
        student, tokenizer = models.load(folder, config.precision if config.predictor else predictor_precision(config))
        embedding = student.get_input_embeddings()
        predictor, reader = build_predictor(student, tokenizer, config)
        learnt = models.positions(predictor.model)
        examples, dropped = _tokenise(rationales, tokenizer, config, reader, learnt and learnt.count)
        weighter = build_weighter(embedding, config)
        trial = [example for example in examples if example.visible][:2]
        if trial:
            batch = collate(trial, 2, config.seed, 0, embedding.weight.device)
            predictor = one_row_a_prefix(predictor, batch, embedding(batch.rationale))
        figures = Training(examples, weighter, embedding, predictor, config, out_dir / "work").run()
        weights = infer(examples, weighter, embedding, config.batch_tokens)
        if writes:
            network.save(weighter, out_dir / "weighter")
    quarantined += dropped
    if writes:
        _write(out_dir, examples, weights, quarantined)
    ranks().wait()
    figures |= _summary(rationales, tokenizer, weights, resolve(tokenizer, config.form).lead)
    return {"rationales": float(len(examples)), "quarantined": float(len(quarantined)), **figures}


def _tokenise(rationales: list[Rationale], student, config: Weights, reader=None, positions=None):  # type: ignore[no-untyped-def]
    form = resolve(student, config.form)
    asked = predictor_form(reader, config.form) if reader else None
    examples, dropped = tokenise(rationales, student, config.max_tokens, reader, positions, form, asked)
    if not examples:
        why = f"; first: {dropped[0][1]}" if dropped else ""
        raise DataError(f"weights: none of {len(rationales)} rationales is usable{why}")
    return examples, dropped


def _write(out_dir: Path, examples: Sequence[Example], weights: Weighted, quarantined: Sequence[Quarantined]) -> None:
    rows = [
        {
            "question_id": example.key[0],
            "sample": example.key[1],
            "token_ids": example.rationale,
            "step": example.step,
            "weight": weights[example.key],
        }
        for example in examples
    ]
    if quarantined:
        write_quarantine(out_dir, "weights", quarantined)
    schemas.write(out_dir / "weights.parquet", schemas.table(rows, schemas.WEIGHTS))


def write_quarantine(out_dir: Path, source: str, quarantined: Sequence[Quarantined]) -> None:
    """Write the rows that could not be used, and why."""
    rows = [{"source": source, "row": f"{key[0]}/{key[1]}", "reason": reason} for key, reason in quarantined]
    schemas.write(out_dir / "quarantine.parquet", schemas.table(rows, schemas.QUARANTINE))


def _summary(rationales: Sequence[Rationale], tokenizer, weights: Weighted, lead: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Mean weight, over all tokens and by class; one near 0 or 1 is reported as a collapse."""
    used = [one for one in rationales if one.key in weights]
    texts = [one.text for one in used]
    placed = token_spans(tokenizer, texts, lead)
    kinds = [classify(text, spans) for text, (_, spans) in zip(texts, placed, strict=True)]
    flat = np.concatenate([weights[one.key] for one in used])
    kind = np.array([name for row in kinds for name in row])
    mean = float(flat.mean())
    if collapsed(mean):
        observe.warning(
            f"weights: collapsed to a mean of {mean:.3f}, so distill will train with weights of 1; "
            f"{'lower' if mean < 0.5 else 'raise'} weights.alpha, or train longer"
        )
    by_class = {f"weight_{name}": float(flat[kind == name].mean()) for name in CLASSES if (kind == name).any()}
    return {"tokens": float(len(flat)), "weight": mean, **by_class, "collapsed": float(collapsed(mean))}
