"""Stage `steps`: `rationales.parquet` in, `steps.parquet` out."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kpod import observe, schemas
from kpod.config import Steps
from kpod.errors import DataError
from kpod.steps.cutting import merged, spans, split
from kpod.text.groups import Keys

_ROWS = 16_384  # rationales cut at a time


def run(inputs: Mapping[str, Path], config: Steps, out_dir: Path) -> dict[str, float]:
    """Cut every kept rationale into steps: `rationales/rationales.parquet` -> `steps.parquet` (schemas.STEPS).

    Rows are in the order of each question's first rationale, then by sample. A rationale that is empty or repeats an
    earlier key is quarantined. Raises DataError if none is left.
    """
    names = ("question_id", "sample", "rationale", "kept")
    table = schemas.read(inputs["rationales"] / "rationales.parquet", schemas.RATIONALES, names)
    table = table.filter(table["kept"])
    keys, texts = Keys(table["question_id"], table["sample"]), table["rationale"].cast(pa.large_string())
    texts = texts.combine_chunks()
    new = keys.find(table["question_id"], keys.sample) == np.arange(len(keys))
    order = np.lexsort((keys.sample, keys.code))  # by the question's first rationale

    quarantined: list[dict[str, str]] = []
    counts = [np.zeros(0, np.int64)]
    with (
        schemas.writing(out_dir / "steps.parquet", schemas.STEPS) as write,
        observe.progress("steps", len(order), "rationale") as bar,
    ):
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            cut = [_cut(text, config) for text in texts.take(pa.array(rows)).to_pylist()]
            for row, parts in zip(rows.tolist(), cut, strict=True):
                if not parts or not new[row]:
                    name = "/".join(map(str, keys[row]))
                    reason = "the key came before" if parts else "the rationale is empty"
                    quarantined.append({"source": "rationales", "row": name, "reason": reason})
            used = np.array([bool(parts) for parts in cut]) & new[rows]
            write(_columns(keys, rows[used], [parts for parts, use in zip(cut, used, strict=True) if use]))
            counts.append(np.array([len(parts) for parts in cut], dtype=np.int64)[used])
            bar.advance(len(rows))
    total = np.concatenate(counts)
    if quarantined:
        schemas.write(out_dir / "quarantine.parquet", schemas.table(quarantined, schemas.QUARANTINE))
    if not len(total):
        raise DataError("steps: no kept rationale has a step: look at drop_reason in rationales.parquet")
    return {
        "rationales": len(total),
        "steps": int(total.sum()),
        "steps_mean": float(total.mean()),
        "steps_max": int(total.max()),
        "single_step_share": float((total == 1).mean()),
        "quarantined": len(quarantined),
    }


def _cut(text: str, config: Steps) -> list[str]:
    if not text.strip():
        return []
    parts = split(text, config.rule)
    return parts if config.max_steps is None else merged(parts, config.max_steps)


def _columns(keys: Keys, rows: np.ndarray, cut: list[list[str]]) -> dict[str, Any]:
    """The columns of `schemas.STEPS` of some rationales."""
    texts = list(chain.from_iterable(cut))
    count = np.array([len(parts) for parts in cut], dtype=np.int64)
    each, first = np.repeat(rows, count), np.cumsum(count) - count
    places = spans(texts)  # as if all were one rationale
    places -= np.repeat(places[first, :1], count, axis=0)
    return {
        "question_id": keys.names.take(pa.array(keys.code[each])),
        "sample": keys.sample[each],
        "step": (np.arange(len(each)) - np.repeat(first, count)).astype(np.int32),
        "text": texts,
        "char_start": places[:, 0],
        "char_end": places[:, 1],
    }
