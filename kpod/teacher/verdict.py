"""What becomes of a reply: rationale, answer, and whether it is kept."""

import re
from dataclasses import dataclass

from kpod.config import Teacher
from kpod.evaluate.answers import answers_equal, extract_answer
from kpod.teacher.ask import Question
from kpod.teacher.gibberish import gibberish
from kpod.teacher.reply import Reply

FAILED = "failed"
CLOSING = re.compile(
    r"(?:^|(?<=[.!?:;)\]])\s+|\s*\n\s*)"
    r"(?:\W{0,4}(?:(?:therefore|thus|hence|so|finally|in conclusion|overall)\b,?\s*)?(?:the|my|our)?\s*"
    r"(?:final|correct|right|best)?\s*answer\b[^.!?\n]{0,80}?(?:\s+is\b|\s*[:=])|\W{0,4}####|\W{0,4}\$*\\boxed)"
    r"[^\n]*(?:\n[^\n]{0,80})?\s*\Z",
    re.IGNORECASE,
)
MOST_BEHIND = 160  # characters that may follow the words "the answer is" for the sentence to close the text
REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we are) (?:very |so |truly )?(?:sorry|afraid|unable|not able)|sorry\b|as an ai\b|"
    r"(?:i|we) (?:can ?not|can'?t|won'?t|am unable|do not feel comfortable)\b|unfortunately, i\b|i apologi[sz]e)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`drop_reason` is None exactly for a kept rationale."""

    rationale: str
    answer: str | None
    correct: bool
    drop_reason: str | None

    @property
    def kept(self) -> bool:
        return self.drop_reason is None


def judge(reply: Reply, question: Question, config: Teacher) -> Verdict:
    """Split a reply into rationale and answer, compare with gold, and apply the filters in the order below."""
    text, rationale = reply.text, strip_closing(reply.text)
    if config.thinking == "use" and reply.thinking:
        rationale = strip_closing(reply.thinking)
    cut = reply.finish_reason == "length"
    answer = None if cut or reply.refused else extract_answer(text, question.choices)
    correct = answer is not None and (answer == question.answer or answers_equal(answer, question.answer))
    reason = None
    if reply.refused or (not correct and REFUSAL.match(text)):
        reason = "refusal"
    elif cut:
        reason = "cut-off"
    elif answer is None:
        reason = "no-answer"
    elif not rationale:
        reason = "no-rationale"
    elif len(rationale) > config.max_chars:
        reason = "too-long"
    elif gibberish(rationale):
        reason = "gibberish"
    elif not correct and not config.keep_wrong:
        reason = "wrong-answer"
    return Verdict(rationale, answer, correct, reason)


def strip_closing(text: str) -> str:
    """The text without the sentences that close it with the answer, so that the answer does not leak."""
    text = text.strip()
    while text and (found := _closing(text)) is not None:
        text = text[:found].rstrip()
    return text


def _closing(text: str) -> int | None:
    """Where the last closing sentence begins, if one closes the text."""
    start = max(0, len(text) - 400)
    found = None
    for match in CLOSING.finditer(text, start):
        if len(text) - match.start() <= MOST_BEHIND * 2:
            found = match.start()
    return found
