"""The verdict on a reply: its rationale, its answer, and whether it is kept."""

import re
from dataclasses import dataclass

from kpod import observe
from kpod.answers.formats import strip_statement
from kpod.answers.verify import Outcome, verify
from kpod.config import Teacher
from kpod.teacher.ask import Question
from kpod.teacher.finish import finish_reason, known
from kpod.teacher.gibberish import gibberish
from kpod.teacher.reply import Reply
from kpod.text.prompts import answer_format

FAILED = "failed"
REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we are) (?:very |so |truly )?(?:sorry|afraid|unable|not able)|sorry\b|as an ai\b|"
    r"(?:i|we) (?:can ?not|can'?t|won'?t|am unable|do not feel comfortable)\b|unfortunately, i\b|i apologi[sz]e)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one reply; without texts, so that those of all rows fit into memory."""

    length: int  # characters of `source(reply)` that are the rationale
    answer: str | None
    correct: bool
    drop_reason: str | None  # None if the rationale is kept

    @property
    def kept(self) -> bool:
        """Whether the rationale may be trained on."""
        return self.drop_reason is None


def source(reply: Reply, config: Teacher) -> str:
    """The text that holds the rationale: the thinking with `thinking: use`, else the reply."""
    return reply.thinking if config.thinking == "use" and reply.thinking else reply.text


def meaning(reply: Reply, config: Teacher) -> str:
    """The finish reason: one of `kpod.teacher.finish.Finish`, or a word that neither it nor the settings know."""
    return config.finish_reasons.get(reply.finish_reason) or finish_reason(reply.finish_reason)


def warn_unknown_finish(reply: Reply, config: Teacher, warned: set[str]) -> None:
    """Warn of an unknown finish reason unless it is in `warned`, and add it there."""
    if not known(word := meaning(reply, config)) and word not in warned:
        warned.add(word)
        observe.warning(
            f"the teacher ends with finish_reason {word!r}, which is not known: such texts are not kept;"
            f" teacher.finish_reasons: {{{word}: stop}} keeps them"
        )


def judge(reply: Reply, question: Question, config: Teacher) -> Verdict:
    """Split a reply into rationale and answer, verify the answer, and decide whether the rationale is kept.

    Drop reasons, the first that applies: refusal, cut-off, unfinished, verifier-failed, no-answer, no-rationale,
    too-long, gibberish, wrong-answer (unless `keep_wrong`).
    """
    form = answer_format(config.answer.kind, config.answer.template)
    rationale = strip_statement(form, source(reply, config))
    finish = meaning(reply, config)
    refused, cut = reply.refused or finish == "content_filter", finish in ("length", "abort", "error")
    outcome = Outcome(None, False, 0.0)
    if not (cut or refused):
        outcome = verify(config.verifier, question.question, reply.text, question.answer, question.choices, form)
    answer, correct = outcome.answer, outcome.correct
    reason = None
    if refused or (not correct and REFUSAL.match(reply.text)):
        reason = "refusal"
    elif cut:
        reason = "cut-off"
    elif finish != "stop":
        reason = "unfinished"  # the finish reason is none of a complete text
    elif outcome.failure:
        reason = "verifier-failed"
    elif answer is None and not correct:
        reason = "no-answer"
    elif not rationale:
        reason = "no-rationale"
    elif len(rationale) > config.max_chars:
        reason = "too-long"
    elif gibberish(rationale):
        reason = "gibberish"
    elif not correct and not config.keep_wrong:
        reason = "wrong-answer"
    return Verdict(len(rationale), answer, correct, reason)
