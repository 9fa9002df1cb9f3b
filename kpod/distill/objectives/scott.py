"""Self-consistent training (Wang et al., 2023): a wrong rationale must lead the student to its own wrong answer.

The paper has its teacher write counterfactual rationales. Here they are the rationales whose answer was wrong, which
the teacher stage has anyway; their question is marked, and only their answer is trained.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from kpod.config import Distill, Scott
from kpod.distill.examples import ANSWER, Example, reject
from kpod.distill.objectives.base import Objective, Told
from kpod.errors import DataError
from kpod.sequences import answer_ids, prompt_ids, rationale_ids

FORM = "counterfactual"
MARK = "[Counterfactual]"


class Counterfactual(Objective):
    """Right rationales as in Eq. 1; of wrong ones the answer, weighted by alpha, with the rationale given."""

    @classmethod
    def records(cls, told: Told, config: Distill) -> tuple[list[Example], list[dict[str, str]]]:
        alpha = cast(Scott, config.objective).alpha
        made = [
            record(told.tokenizer, told.questions[row["question_id"]], row, alpha)
            for row in told.rows
            if not row["correct"] and row["answer"] and (row["kept"] or row["drop_reason"] == "wrong-answer")
        ]
        if not made:
            raise DataError("scott: the teacher gave no wrong answer, so there is no counterfactual rationale")
        long = [one for one in made if one.tokens > config.max_tokens]
        rejected = [reject(one.key, f"{one.tokens} tokens, max_tokens is {config.max_tokens}") for one in long]
        return told.right + [one for one in made if one.tokens <= config.max_tokens], rejected

    def given(self, epoch: int) -> np.ndarray:
        planned = super().given(epoch)
        whole = [row.given(ANSWER) if row.form == FORM else 0 for row in self.rows]
        return np.maximum(planned, whole)


def record(
    tokenizer: PreTrainedTokenizerBase, question: Mapping[str, Any], row: Mapping[str, Any], alpha: float
) -> Example:
    """A counterfactual row: marked question, wrong rationale, its own answer with weight `alpha`."""
    text = row["rationale"]
    ((ids, _),) = rationale_ids(tokenizer, [text], [[(0, len(text))]])
    answer = answer_ids(tokenizer, row["answer"])
    return Example(
        key=(row["question_id"], row["sample"]),
        prompt=np.asarray(prompt_ids(tokenizer, f"{MARK} {question['question']}", question["choices"]), dtype=np.int32),
        target=np.asarray([*ids, *answer], dtype=np.int32),
        weight=np.repeat(np.array([1, alpha], np.float32), [len(ids), len(answer)]),
        step=np.repeat(np.array([0, ANSWER], np.int32), [len(ids), len(answer)]),
        form=FORM,
    )
