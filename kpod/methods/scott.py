"""Self-consistent training (Wang et al., 2023): a wrong rationale must lead the student to its own wrong answer.

In the paper the teacher writes counterfactual rationales. Here they are the teacher's rationales with a wrong answer;
their question is marked, and only their answer is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from kpod.config import Distill
from kpod.config.methods import Scott
from kpod.errors import DataError
from kpod.methods.base import Objective, Step, StudentData
from kpod.text.formats import PromptFormat
from kpod.text.tokens import token_spans
from kpod.training.examples import Example, Examples, example
from kpod.training.passes import MicroBatch, Passes

FORM = "counterfactual"
MARK = "[Counterfactual]"


class Counterfactual(Objective):
    """Eq. 1 on correct rationales; of wrong ones only the answer is trained, with weight alpha."""

    @classmethod
    def make_examples(cls, data: StudentData, config: Distill) -> Examples:
        examples = [
            counterfactual(data.tokenizer, data.questions[row["question_id"]], row, data.form)
            for row in data.rows
            if not row["correct"] and row["answer"] and (row["kept"] or row["drop_reason"] == "wrong-answer")
        ]
        if not examples:
            raise DataError("scott: the teacher gave no wrong answer, so there is no counterfactual rationale")
        return Examples.of([*data.correct, *examples])

    def input_tokens(self, epoch: int) -> np.ndarray:
        rationale = self.rows.tokens.rationale.size[self.rows.rows]
        return np.maximum(super().input_tokens(epoch), np.where(self._wrong, rationale, 0))

    def weights(self, passes: Passes, batches: Sequence[MicroBatch], step: Step) -> list[torch.Tensor]:
        factor = np.where(self._wrong, cast(Scott, self.config.objective).alpha, 1).astype(np.float32)
        return [torch.from_numpy(factor[micro.rows]).to(micro.batch.row.device)[micro.batch.row] for micro in batches]

    @cached_property
    def _wrong(self) -> np.ndarray:
        """bool [rows]."""
        return np.asarray(self.rows.form)[self.rows.rows] == FORM


def counterfactual(
    tokenizer: PreTrainedTokenizerBase, question: Mapping[str, Any], row: Mapping[str, Any], form: PromptFormat
) -> Example:
    """The example of a wrong rationale: marked question, rationale, and its own answer.

    `question` is a row of schemas.QUESTIONS, `row` one of schemas.RATIONALES.
    """
    ((ids, _),) = token_spans(tokenizer, [row["rationale"]], form.lead)
    prompt = form.prompt_ids(tokenizer, f"{MARK} {question['question']}", question["choices"])
    answer = form.answer_ids(tokenizer, row["answer"])
    return replace(example((row["question_id"], row["sample"]), prompt, ids.tolist(), answer), form=FORM)
