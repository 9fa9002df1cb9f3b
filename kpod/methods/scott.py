"""Self-consistent training (Wang et al., 2023): a wrong rationale must lead the student to its own wrong answer.

The paper has its teacher write counterfactual rationales. Here they are the rationales whose answer was wrong, which
the teacher stage has anyway; their question is marked, and only their answer is trained.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.config import Distill
from kpod.config.methods import Scott
from kpod.errors import DataError
from kpod.methods.base import Objective, StudentData
from kpod.text.formats import PromptFormat
from kpod.text.tokens import answer_ids, prompt_ids, rationale_ids
from kpod.training.examples import ANSWER, Example, reject

FORM = "counterfactual"
MARK = "[Counterfactual]"


class Counterfactual(Objective):
    """Right rationales as in Eq. 1; of wrong ones the answer, weighted by alpha, with the rationale as input."""

    @classmethod
    def make_examples(cls, data: StudentData, config: Distill) -> tuple[list[Example], list[dict[str, str]]]:
        alpha = cast(Scott, config.objective).alpha
        examples = [
            counterfactual(data.tokenizer, data.questions[row["question_id"]], row, alpha, data.form)
            for row in data.rows
            if not row["correct"] and row["answer"] and (row["kept"] or row["drop_reason"] == "wrong-answer")
        ]
        if not examples:
            raise DataError("scott: the teacher gave no wrong answer, so there is no counterfactual rationale")
        fitting = [one for one in examples if one.tokens <= config.max_tokens]
        rejected = [
            reject(one.key, f"{one.tokens} tokens, max_tokens is {config.max_tokens}")
            for one in examples
            if one.tokens > config.max_tokens
        ]
        return data.correct + fitting, rejected

    def input_tokens(self, epoch: int) -> np.ndarray:
        rationale = [row.rationale_tokens if row.form == FORM else 0 for row in self.rows]
        return np.maximum(super().input_tokens(epoch), rationale)


def counterfactual(
    tokenizer: PreTrainedTokenizerBase,
    question: Mapping[str, Any],
    row: Mapping[str, Any],
    alpha: float,
    form: PromptFormat,
) -> Example:
    """The example of a wrong rationale: marked question, rationale, its own answer with weight `alpha`."""
    text = row["rationale"]
    ((ids, _),) = rationale_ids(tokenizer, [text], [[(0, len(text))]], form.lead)
    answer = answer_ids(tokenizer, row["answer"], form)
    return Example(
        key=(row["question_id"], row["sample"]),
        prompt=np.asarray(
            prompt_ids(tokenizer, f"{MARK} {question['question']}", question["choices"], form), dtype=np.int32
        ),
        target=np.asarray([*ids, *answer], dtype=np.int32),
        weight=np.repeat(np.array([1, alpha], np.float32), [len(ids), len(answer)]),
        step=np.repeat(np.array([0, ANSWER], np.int32), [len(ids), len(answer)]),
        form=FORM,
    )
