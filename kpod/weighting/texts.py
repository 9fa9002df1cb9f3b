"""Weights of any text by a trained weighter, with which the report shades a student's answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn
from transformers import AutoTokenizer

from kpod.text.formats import COT, PromptFormat
from kpod.text.rationales import Rationale
from kpod.tokens.rows import tokenise
from kpod.training.models import input_embedding
from kpod.weighting import network
from kpod.weighting.examples import usable
from kpod.weighting.infer import infer

_BATCH_TOKENS = 4096


def text_weights(
    texts: Sequence[str], weighter: Path, student: Path, form: PromptFormat = COT
) -> list[np.ndarray | None]:
    """w_j (Eq. 2-3) of the tokens of each text, float32 [n], with the tokens of `token_spans`; None for an empty text.

    `weighter`: folder of the stage `weights`; `student`: model folder that it was trained on, of which only the
    embedding is read; `form`: the prompt format of the training, which decides how the first token is encoded. Raises
    ModelError if a folder cannot be read.
    """
    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    net = network.load(weighter)
    rows = [Rationale(str(i), 0, "", None, "0", text, ((0, len(text)),)) for i, text in enumerate(texts)]
    examples, _ = usable(tokenise(tokenizer, rows, PromptFormat(lead=form.lead, answer=form.answer)), max_tokens=2**31)
    embedding = nn.Embedding.from_pretrained(input_embedding(student).float())
    weights = infer(examples, net, embedding, _BATCH_TOKENS)
    return [weights[row] if weights.size[row] else None for row in range(len(texts))]
