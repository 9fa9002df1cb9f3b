"""Batches: the order of an epoch, padding, and the trained positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from kpod.errors import ModelError
from kpod.training.examples import ANSWER, Example

SORTED_TOGETHER = 8  # batches among which rows are sorted by length: less padding, and the order stays random


@dataclass(frozen=True)
class Batch:
    """One forward pass over rows x columns padded tokens, n of them trained."""

    inputs: dict[str, torch.Tensor]  # arguments of the model's forward
    positions: torch.Tensor  # int64 [n]: places in the flattened [rows * columns] whose next token is trained
    labels: torch.Tensor  # int64 [n]
    weights: torch.Tensor  # float32 [n]
    row: torch.Tensor  # int64 [n], ascending: the row that each target token belongs to
    answer: torch.Tensor  # bool [n]: whether it belongs to the answer

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        rest = (self.positions, self.labels, self.weights, self.row, self.answer)
        return Batch(inputs, *(value.to(device, non_blocking=True) for value in rest))


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row numbers (int64) of each optimizer step of an epoch, a function of `(seed, epoch)` and `lengths` int [n].

    Rows are shuffled, sorted by length within `SORTED_TOGETHER` batches, and the batches are shuffled again. Each row
    occurs exactly once.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    batches = []
    for first in range(0, len(order), SORTED_TOGETHER * batch_size):
        together = order[first : first + SORTED_TOGETHER * batch_size]
        together = together[np.argsort(-lengths[together], kind="stable")]
        batches += [together[at : at + batch_size] for at in range(0, len(together), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def decoder_start(model: PreTrainedModel) -> int | None:
    """The id of the decoder's first input token; None for a decoder-only model. ModelError if the config lacks it."""
    if not model.config.is_encoder_decoder:
        return None
    token: int | None = model.config.decoder_start_token_id
    if token is None:
        raise ModelError("the model's config names no decoder_start_token_id: set it in config.json")
    return token


def collate(rows: Sequence[Example], input_tokens: Sequence[int], pad: int, decoder_start: int | None) -> Batch:
    """Pad `rows` on the right with `pad`; the first `input_tokens[i]` target tokens of row i have no label.

    `decoder_start` None: prompt and target are one sequence, for a decoder-only model. Else the prompt is the encoder's
    input and the target, shifted here, the decoder's.
    """
    if decoder_start is None:
        # The last token predicts nothing. No attention mask: under a causal mask, padding on the right is not seen.
        sequences = [np.concatenate([row.prompt, row.target[:-1]]) for row in rows]
        first = [len(row.prompt) - 1 for row in rows]
        inputs = {"input_ids": _padded(sequences, pad)}
    else:
        sequences = [np.concatenate([[decoder_start], row.target[:-1]]) for row in rows]
        first = [0] * len(rows)
        inputs = {
            "input_ids": _padded([row.prompt for row in rows], pad),
            "attention_mask": _padded([np.ones(len(row.prompt)) for row in rows], 0),
            "decoder_input_ids": _padded(sequences, pad),
        }
    starts = max(map(len, sequences)) * np.arange(len(rows))
    positions = [
        start + begin + np.arange(skip, len(row.target))
        for start, begin, skip, row in zip(starts, first, input_tokens, rows, strict=True)
    ]
    labels, weights, steps = (
        [getattr(row, name)[skip:] for row, skip in zip(rows, input_tokens, strict=True)]
        for name in ("target", "weight", "step")
    )
    return Batch(
        inputs=inputs,
        positions=torch.from_numpy(np.concatenate(positions)),
        labels=torch.from_numpy(np.concatenate(labels).astype(np.int64)),
        weights=torch.from_numpy(np.concatenate(weights)),
        row=torch.from_numpy(np.repeat(np.arange(len(rows)), [len(label) for label in labels])),
        answer=torch.from_numpy(np.concatenate(steps) == ANSWER),
    )


def _padded(sequences: Sequence[np.ndarray], value: int) -> torch.Tensor:
    result = np.full((len(sequences), max(map(len, sequences))), value, dtype=np.int64)
    for row, sequence in zip(result, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(result)
