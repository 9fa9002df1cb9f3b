"""What becomes of a reply: rationale, answer, and whether it is kept."""

import re
from dataclasses import dataclass

from kpod import observe
from kpod.answers.formats import as_sentence, strip_statement
from kpod.answers.verifiers import PythonVerifier
from kpod.answers.verify import Outcome, verify
from kpod.config import Teacher
from kpod.teacher.ask import Question
from kpod.teacher.finish import finish_reason, known
from kpod.teacher.gibberish import gibberish
from kpod.teacher.reply import Reply
from kpod.text.prompts import answer_format

FAILED = "failed"
UNFINISHED = "unfinished"  # ended for a reason that is not known to leave the text whole
UNVERIFIED = "verifier-failed"
REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we are) (?:very |so |truly )?(?:sorry|afraid|unable|not able)|sorry\b|as an ai\b|"
    r"(?:i|we) (?:can ?not|can'?t|won'?t|am unable|do not feel comfortable)\b|unfortunately, i\b|i apologi[sz]e)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`length`: the rationale is so many characters of `source(reply)`. `drop_reason` is None if it is kept.

    Small, so that one for every row can stay in memory while the texts stay on disk.
    """

    length: int
    answer: str | None
    correct: bool
    drop_reason: str | None

    @property
    def kept(self) -> bool:
        """Whether the rationale may be trained on."""
        return self.drop_reason is None


def source(reply: Reply, config: Teacher) -> str:
    """The text that holds the rationale."""
    return reply.thinking if config.thinking == "use" and reply.thinking else reply.text


def meaning(reply: Reply, config: Teacher) -> str:
    """Why the reply ended: one of `kpod.teacher.finish.Finish`, or a word that neither it nor the settings know."""
    return config.finish_reasons.get(reply.finish_reason) or finish_reason(reply.finish_reason)


def warn_unknown_finish(reply: Reply, config: Teacher, warned: set[str]) -> None:
    """Warn of an unknown reason to end, unless it is among those `told`, and add it there."""
    if not known(word := meaning(reply, config)) and word not in warned:
        warned.add(word)
        observe.warning(
            f"the teacher ends with finish_reason {word!r}, which is not known: such texts are not kept;"
            f" teacher.finish_reasons: {{{word}: stop}} keeps them"
        )


def judge(reply: Reply, question: Question, config: Teacher) -> Verdict:
    """Split a reply into rationale and answer, compare with gold, and apply the filters in the order below."""
    form = answer_format(config.answer.kind, config.answer.template)
    rationale = strip_statement(form, source(reply, config))
    ended = meaning(reply, config)
    refused, cut = reply.refused or ended == "content_filter", ended in ("length", "abort", "error")
    found = Outcome(None, False, 0.0)
    if not (cut or refused):
        text = reply.text if isinstance(config.verifier, PythonVerifier) else as_sentence(form, reply.text)
        found = verify(config.verifier, question.question, text, question.answer, question.choices)
    answer, correct = found.answer, found.correct
    reason = None
    if refused or (not correct and REFUSAL.match(reply.text)):
        reason = "refusal"
    elif cut:
        reason = "cut-off"
    elif ended != "stop":
        reason = UNFINISHED
    elif found.failure:
        reason = UNVERIFIED
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
