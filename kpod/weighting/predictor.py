"""The answer predictor of Eq. 5: -log P(y | x, masked r_<k) for several prefixes of each rationale.

A masked rationale is input as m_j * Emb(r_j), the student's raw embedding, projected if the predictor has another one.
The template words of the answer are only input: the answer, its full stop and EOS are scored.
"""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kpod.training.loss import IGNORED, token_nll
from kpod.weighting.batch import Batch
from kpod.weighting.examples import Example


class Predictor(nn.Module):
    """A pretrained model that predicts the answer; subclasses arrange the prefixes in its input."""

    def __init__(self, model: PreTrainedModel, template: int, eos: int, projection: nn.Linear | None = None) -> None:
        """`template`: number of leading answer tokens that are not scored; `eos`: id of the end token;
        `projection`: from the student's to the predictor's width.
        """
        super().__init__()
        self.model, self.template, self.eos, self.projection = model, template, eos, projection
        self._accepts = set(inspect.signature(model.forward).parameters)

    def nll(self, batch: Batch, rationale: Tensor) -> Tensor:
        """-log P of the answer for every prefix, float [B, P]; 0 where a row has fewer prefixes.

        `rationale`: masked student embeddings, float [B, R, d].
        """
        if self.projection is not None:
            rationale = self.projection(rationale)
        return self._nll(batch, rationale)

    def size(self, example: Example, prefixes: int) -> int:
        """Tokens of an example with so many prefixes in a forward pass."""
        return prefixes * example.tokens

    def _nll(self, batch: Batch, rationale: Tensor) -> Tensor:
        raise NotImplementedError

    def _embed(self, ids: np.ndarray, device: torch.device) -> Tensor:
        return self.model.get_input_embeddings()(torch.from_numpy(ids).to(device))

    def _scored(self, logits: Tensor, labels: np.ndarray) -> Tensor:
        """Sum of -log P over the last axis of `labels` [..., A]; `logits` [..., A, V]."""
        target = torch.from_numpy(labels).to(logits.device)
        return token_nll(logits.flatten(0, -2), target.flatten()).view(target.shape).sum(-1)


class OnePass(Predictor):
    """For decoder-only models: the context once, followed by a copy of the answer for each prefix, in one sequence.

    A copy attends to the question, its own prefix and itself, and its positions continue its prefix, so that it is
    scored exactly as in a separate pass over question, prefix and answer. Layout of a row, padded per batch:
    `question rationale ... | copy 1 | copy 2 | ...`.
    """

    def size(self, example: Example, prefixes: int) -> int:
        """Tokens of one row: question and rationale once, and a copy of the answer for each prefix."""
        return len(example.prompt) + example.visible + prefixes * (len(example.answer) - 1)

    def _nll(self, batch: Batch, rationale: Tensor) -> Tensor:
        rows, copies = len(batch), max(map(len, batch.ends))
        context = max(len(e.prompt) + e.visible for e in batch.examples)
        width = max(len(e.answer) for e in batch.examples) - 1  # the last token is never input
        total = context + copies * width
        ids = np.zeros((rows, total), dtype=np.int64)
        position = np.zeros((rows, total), dtype=np.int64)
        copy = np.full((rows, total), -1, dtype=np.int64)  # 0: context, 1 ..: copies, -1: padding
        limit = np.zeros((rows, total), dtype=np.int64)  # context tokens that a token sees
        labels = np.full((rows, copies, width - self.template + 1), IGNORED, dtype=np.int64)
        for row, (example, ends) in enumerate(zip(batch.examples, batch.ends, strict=True)):
            question, answer = len(example.prompt), len(example.answer) - 1
            whole = question + example.visible
            ids[row, :question] = example.prompt
            position[row, :whole] = np.arange(whole)
            limit[row, :whole] = np.arange(1, whole + 1)
            copy[row, :whole] = 0
            for number, end in enumerate(ends):
                place = slice(context + number * width, context + number * width + answer)
                ids[row, place] = example.answer[:-1]
                position[row, place] = question + end + np.arange(answer)
                limit[row, place] = question + end
                copy[row, place] = number + 1
                labels[row, number, : answer - self.template + 1] = example.answer[self.template :]
        scored = [
            context + number * width + place for number in range(copies) for place in range(self.template - 1, width)
        ]
        embedded = self._place(self._embed(ids, rationale.device), batch, rationale)
        logits = self._logits(embedded, _block_mask(copy, limit, rationale.device), position, scored)
        return self._scored(logits.view(rows, copies, -1, logits.shape[-1]), labels)

    def _place(self, embedded: Tensor, batch: Batch, rationale: Tensor) -> Tensor:
        """Insert each visible rationale after its question."""
        row, column = batch.visible.nonzero(as_tuple=True)
        offset = torch.tensor([len(e.prompt) for e in batch.examples], device=row.device)
        return embedded.index_put((row, column + offset[row]), rationale[row, column].to(embedded.dtype))

    def _logits(self, embedded: Tensor, seen: Tensor, position: np.ndarray, scored: list[int]) -> Tensor:
        # Added to the scores. A boolean mask would be converted in each layer, and every copy be kept.
        kind = embedded.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else embedded.dtype
        seen = torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        inputs: dict[str, Any] = {
            "inputs_embeds": embedded,
            "attention_mask": seen,
            "position_ids": torch.from_numpy(position).to(embedded.device),
            "use_cache": False,
        }
        keep = torch.tensor(scored, device=embedded.device)
        if "logits_to_keep" in self._accepts:
            return self.model(**inputs, logits_to_keep=keep).logits
        return self.model(**inputs).logits[:, keep]


def _block_mask(copy: np.ndarray, limit: np.ndarray, device: torch.device) -> Tensor:
    """The attention mask, bool [B, 1, S, S]; every token attends to itself, padding too, so no softmax is empty."""
    own, reach = torch.from_numpy(copy).to(device), torch.from_numpy(limit).to(device)
    place = torch.arange(copy.shape[1], device=device)
    seen = place < reach[:, :, None]  # the one table of this size: 256 MB at 16,000 tokens
    seen &= (own == 0)[:, None, :]
    first = int((copy > 0).any(0).argmax())  # copies are at the end
    copies, behind = own[:, first:], place[first:]
    own_copy = (copies[:, :, None] == copies[:, None, :]) & (copies > 0)[:, :, None]
    seen[:, first:, first:] |= own_copy & (behind <= behind[:, None])
    seen.diagonal(dim1=1, dim2=2).fill_(True)
    return seen[:, None]


class Separate(Predictor):
    """For decoder-only models without position ids or with special attention: one row for each prefix, batched."""

    def _nll(self, batch: Batch, rationale: Tensor) -> Tensor:
        pairs = [(row, end) for row, ends in enumerate(batch.ends) for end in ends]
        examples = [batch.examples[row] for row, _ in pairs]
        context = max(len(e.prompt) + int(end) for e, (_, end) in zip(examples, pairs, strict=True))
        width = max(len(e.answer) for e in examples) - 1
        ids = np.zeros((len(pairs), context + width), dtype=np.int64)
        seen = np.zeros_like(ids)
        labels = np.full((len(pairs), width - self.template + 1), IGNORED, dtype=np.int64)
        for line, (example, (_, end)) in enumerate(zip(examples, pairs, strict=True)):
            begin, answer = context - end - len(example.prompt), len(example.answer) - 1  # padded on the left
            ids[line, begin : context - end] = example.prompt
            ids[line, context : context + answer] = example.answer[:-1]
            seen[line, begin : context + answer] = 1
            labels[line, : answer - self.template + 1] = example.answer[self.template :]
        embedded = _insert(self._embed(ids, rationale.device), pairs, rationale, [context - int(e) for _, e in pairs])
        inputs: dict[str, Any] = {
            "inputs_embeds": embedded,
            "attention_mask": torch.from_numpy(seen).to(embedded.device),
        }
        if "position_ids" in self._accepts:
            inputs["position_ids"] = torch.from_numpy(np.maximum(seen.cumsum(1) - 1, 0)).to(embedded.device)
        logits = self.model(**inputs, use_cache=False).logits[:, context + self.template - 1 :]
        return _by_row(self._scored(logits, labels), batch)


class EncoderDecoder(Predictor):
    """For encoder-decoders: question and prefix in the encoder, one row for each prefix; the answer in the decoder."""

    def _nll(self, batch: Batch, rationale: Tensor) -> Tensor:
        pairs = [(row, end) for row, ends in enumerate(batch.ends) for end in ends]
        examples = [batch.examples[row] for row, _ in pairs]
        # The EOS of the prompt would come before the rationale: it is moved behind it.
        prompts = [e.prompt[:-1] if e.prompt[-1] == self.eos else e.prompt for e in examples]
        context = max(len(p) + int(end) + 1 for p, (_, end) in zip(prompts, pairs, strict=True))
        width = max(len(e.answer) for e in examples)
        ids = np.zeros((len(pairs), context), dtype=np.int64)
        seen = np.zeros_like(ids)
        decoder_ids = np.zeros((len(pairs), width), dtype=np.int64)
        labels = np.full((len(pairs), width - self.template), IGNORED, dtype=np.int64)
        for line, (prompt, example, (_, end)) in enumerate(zip(prompts, examples, pairs, strict=True)):
            ids[line, : len(prompt)] = prompt
            ids[line, len(prompt) + end] = self.eos
            seen[line, : len(prompt) + end + 1] = 1
            decoder_ids[line, 0] = self.model.config.decoder_start_token_id
            decoder_ids[line, 1 : len(example.answer)] = example.answer[:-1]
            labels[line, : len(example.answer) - self.template] = example.answer[self.template :]
        embedded = _insert(self._embed(ids, rationale.device), pairs, rationale, [len(p) for p in prompts])
        logits = self.model(
            inputs_embeds=embedded,
            attention_mask=torch.from_numpy(seen).to(embedded.device),
            decoder_input_ids=torch.from_numpy(decoder_ids).to(embedded.device),
            use_cache=False,
        ).logits[:, self.template :]
        return _by_row(self._scored(logits, labels), batch)


def _insert(embedded: Tensor, pairs: list[tuple[int, int]], rationale: Tensor, starts: list[int]) -> Tensor:
    """Insert the first `end` vectors of each pair's rationale into its line, from its `start` on."""
    lengths = np.array([end for _, end in pairs])
    line = np.repeat(np.arange(len(pairs)), lengths)
    place = np.concatenate([np.arange(end) for _, end in pairs])
    row = np.repeat([row for row, _ in pairs], lengths)
    column = np.repeat(starts, lengths) + place
    line, place, row, column = (torch.from_numpy(x).to(embedded.device) for x in (line, place, row, column))
    return embedded.index_put((line, column), rationale[row, place].to(embedded.dtype))


def _by_row(values: Tensor, batch: Batch) -> Tensor:
    """Values of lines, [sum of P], as [B, P] padded with zeros."""
    counts = [len(ends) for ends in batch.ends]
    return nn.utils.rnn.pad_sequence(list(values.split(counts)), batch_first=True)
