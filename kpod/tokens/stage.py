"""Stage `tokens`: `questions`, `rationales`, `steps` and the student's tokenizer in, `tokens.arrow` out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from kpod import observe, schemas
from kpod.config import Form
from kpod.errors import DataError
from kpod.text.chat import resolve
from kpod.text.rationales import CHUNK, read_rationales
from kpod.text.table import FILE
from kpod.tokens.rows import columns, unusable


def run(inputs: Mapping[str, Path], config: Form, out_dir: Path) -> dict[str, float]:
    """Tokenise every kept rationale with its prompt and answer: writes `tokens.arrow` (schemas.TOKENS).

    Reads the folders of `questions`, `rationales` and `steps`, and the tokenizer of `base`. A rationale without a
    question, an answer, a step or a token, or that copies an earlier sample of its question, is quarantined, for all
    later stages. Raises DataError if none is left.
    """
    tokenizer = AutoTokenizer.from_pretrained(inputs["base"] / "student", local_files_only=True)
    form = resolve(tokenizer, config)
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    reasons = unusable(rationales)
    rejected = rationales.lost + [(rationales.keys[place], reason) for place, reason in sorted(reasons.items())]
    used = np.setdiff1d(np.arange(len(rationales)), np.fromiter(reasons, np.int64, len(reasons)))
    tokens = 0
    with (
        schemas.writing(out_dir / FILE, schemas.TOKENS) as write,
        observe.progress("tokens", len(used), "rationale") as bar,
    ):
        for at in range(0, len(used), CHUNK):
            chunk = columns(tokenizer, rationales.take(used[at : at + CHUNK]), form)
            write(chunk)
            tokens += len(chunk["rationale_ids"].values)
            bar.advance(len(chunk["sample"]))
    if rejected:
        lines = [{"source": "rationales", "row": f"{key[0]}/{key[1]}", "reason": reason} for key, reason in rejected]
        schemas.write(out_dir / "quarantine.parquet", schemas.table(lines, schemas.QUARANTINE))
    if not len(used):
        first = f"; first: {rejected[0][1]}" if rejected else ""
        raise DataError(f"tokens: none of {len(rejected)} kept rationales can be used{first}")
    return {"rationales": len(used), "rationale_tokens": tokens, "quarantined": len(rejected)}
