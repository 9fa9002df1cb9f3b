"""Self-consistent training (Wang et al., 2023): a wrong rationale must lead the student to its own wrong answer.

The paper has its teacher write counterfactual rationales. Here they are the rationales whose answer was wrong, which
the teacher stage has anyway; their question is marked, and only their answer is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import Field

from kpod.errors import DataError
from kpod.fields import MethodSettings
from kpod.methods.base import Objective, Told, method

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from kpod.config import Distill, Pipeline
    from kpod.text.formats import PromptFormat
    from kpod.training.examples import Example


class Scott(MethodSettings):
    """Self-consistent training (Wang et al., 2023): the teacher's wrong rationales as counterfactual records."""

    kind: Literal["scott"] = "scott"
    alpha: float = Field(0.5, ge=0, description="Weight of the answers of counterfactual records.")

    def check(self, config: Pipeline) -> None:
        endpoint = config.teacher.endpoint
        if endpoint.kind == "scripted" and not endpoint.wrong:
            raise ValueError("methods: scott trains on wrong rationales too, teacher.endpoint.wrong must not be 0")


FORM = "counterfactual"
MARK = "[Counterfactual]"


@method(Scott)
class Counterfactual(Objective):
    """Right rationales as in Eq. 1; of wrong ones the answer, weighted by alpha, with the rationale given."""

    @classmethod
    def records(cls, told: Told, config: Distill) -> tuple[list[Example], list[dict[str, str]]]:
        from kpod.training.examples import reject

        alpha = cast(Scott, config.objective).alpha
        made = [
            record(told.tokenizer, told.questions[row["question_id"]], row, alpha, told.form)
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
        whole = [row.rationale_tokens if row.form == FORM else 0 for row in self.rows]
        return np.maximum(planned, whole)


def record(
    tokenizer: PreTrainedTokenizerBase,
    question: Mapping[str, Any],
    row: Mapping[str, Any],
    alpha: float,
    form: PromptFormat,
) -> Example:
    """A counterfactual row: marked question, wrong rationale, its own answer with weight `alpha`."""
    from kpod.text.tokens import answer_ids, prompt_ids, rationale_ids
    from kpod.training.examples import ANSWER, Example

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
