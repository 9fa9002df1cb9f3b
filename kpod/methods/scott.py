"""Self-consistent training (Wang et al., 2023): a wrong rationale must lead the student to its own wrong answer.

In the paper the teacher writes counterfactual rationales. Here they are the teacher's rationales with a wrong answer;
their question is marked, and only their answer is trained.
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
    """Eq. 1 on correct rationales; of wrong ones only the answer is trained, with weight alpha."""

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
        fitting = [record for record in examples if record.tokens <= config.max_tokens]
        rejected = [
            reject(record.key, f"{record.tokens} tokens, max_tokens is {config.max_tokens}")
            for record in examples
            if record.tokens > config.max_tokens
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
    """The example of a wrong rationale: marked question, rationale, and its own answer with weight `alpha`.

    `question` is a row of schemas.QUESTIONS, `row` one of schemas.RATIONALES.
    """
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
