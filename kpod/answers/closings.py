"""The statement of the answer that closes a rationale: what is trained on the rationale must not see it there."""

import re

from kpod.answers.denial import last_match
from kpod.answers.extract import clause_of
from kpod.answers.number_words import number_in_words
from kpod.answers.statements import SENTENCE_END, STATEMENT, VALUE

MOST_CLOSING = 320  # characters from "the answer is" to the end of the text, for the statement to close it
MOST_BEHIND = 120  # characters behind the statement, such as "I hope this helps!"
MOST_LEAD = 200  # characters in front of it that may be its sentence's opening words
_START = r"(?:^|(?<=[.!?:;)\]\n]))\s*"  # of a sentence or a line
_NOT_YET = r"\b(?:must|should|would|will|could|can|might|may|has|have|needs?|depends|to)\b"  # begins to reason
_BEGINS = re.compile(
    # As the extraction of answers knows it, anywhere;
    rf"{STATEMENT.pattern}|"
    # a sentence about the answer, in fewer words or more;
    rf"{_START}\W{{0,4}}(?:(?:therefore|thus|hence|so|finally|in conclusion|overall)\b,?\s*)?"
    rf"(?:(?:the|our|my)\s+)?(?:(?:final|correct|right|best|actual)\s+)?answer\b"
    rf"(?:(?!{_NOT_YET})[^.!?\n]){{0,80}}?"
    rf"(?:\b(?:is|comes? out (?:to be|as))\b|\b(?P<modal_too>(?:would|should|must|will) be)\b|[*_]{{0,3}}\s*[:=])"
    rf"[*_]{{0,3}}\s*:?|"
    # what names the answer only if a value follows, or stands in front;
    r"(?P<with_value>\b(?:the|our|final)\s+(?:(?:final|correct|right|only)\s+)?(?:solution|option|choice)\s+is\b|"
    rf"{_START}[^\w/]{{0,4}}(?:(?:so|hence|thus|therefore),?\s+)?(?:final )?(?:answer|solution|ans)\b\W{{1,4}}|"
    r"\bthe answer (?:can|may) be \w{1,20} as\b|"
    r"\b(?:I|we)(?:'d| would| will|'ll)? (?:choose|pick|select|go with)(?: (?:option|choice|answer))?"
    r"(?=\s+\(?(?-i:[A-J])\)?\s*(?:[.!,;:\n]|$|because|since)))|"
    rf"(?<![\w.,/$€£:^-])(?P<right_value>(?:(?:option|choice|answer)\s+)?{VALUE})\s+(?:as\s+(?:the|our|my)\s+"
    r"(?:(?:final|correct|right)\s+)?answer\b|is\s+(?:therefore |thus |hence )?(?:the )?(?:correct|right)(?: one)?"
    r"(?=[.!]?\s*$))|"
    # a heading; a box by itself.
    rf"{_START}#{{1,6}}\s*(?:final )?answer\s*\n|{_START}(?:[$*]|\\[\[(])*\s*\\boxed\b",
    re.IGNORECASE,
)
# Of an ASCII text, what _BEGINS matches holds one of these; to look for them takes a hundredth of its time.
_SIGNS = ("ans", "solution", "option", "choice", "letter", "final", "####", "respuesta", "resposta", "risposta",
          "antwort", "choose", "pick", "select", "go with", "correct", "right", "boxed")  # fmt: skip
_VALUE = re.compile(
    r"\W*(?:(?i:about|approximately|around|exactly|equal to|a total of|la|option)\s+)?\W*(?:\d|[A-J]\b)"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PURPOSE = re.compile(r"\W*(?:to|para|um|pour)\b", re.IGNORECASE)  # "To find the answer: ..." begins to reason
_CONNECTORS = re.compile(
    r"(?:\b(?:and|so|thus|hence|therefore|then|which|means|the|that|así que|por lo tanto|entonces|luego|y|"
    r"also|daher|somit|folglich|und|donc|ainsi|alors|et)|所以|因此|故|那么|，)$",
    re.IGNORECASE,
)
_MIXED = re.compile(r"%\s*\w|\bor\b")  # "The solution is 40% acid."
_RULE = re.compile(r"\n\s{0,3}[-*_=#>]{2,9}\s{0,3}$")
_OPERATOR = re.compile(r"[-+*/x×÷=<>]\s*$")


def strip_closing(text: str) -> str:
    """`text` without the statements of the answer at its end, however many there are.

    Of "..., so the answer is 8." only the statement is cut, not the sentence in front of it. A statement that further
    working with other numbers follows is kept.
    """
    text = text.rstrip()
    while text and (begin := _closing(text)) is not None:
        text = text[:begin].rstrip()
        if rule := _RULE.search(text, max(0, len(text) - 20)):
            text = text[: rule.start()].rstrip()
    return text


def _may_state(text: str) -> bool:
    """False only if a text holds no words that state an answer."""
    lowered = text.lower()
    return not text.isascii() or any(sign in lowered for sign in _SIGNS)


def _closing(text: str) -> int | None:
    """The offset at which the last statement of the answer begins, if it closes the text."""
    if not _may_state(text[max(0, len(text) - MOST_CLOSING) :]):
        return None
    match = last_match(_BEGINS.finditer(text, max(0, len(text) - MOST_CLOSING)))
    if match is None:
        return None
    value = match["value"] or match["right_value"]
    if value:
        stated, behind = value, text[match.end() :].lstrip(".!? )*")
    else:
        stated, behind = clause_of(text[match.end() :])
    if any(match[name] for name in ("modal", "modal_too", "named", "with_value")) and not _is_value(stated):
        return None  # "The answer must be a place for cats." begins to reason
    if match["with_value"] and _MIXED.search(stated):
        return None
    if len(behind.strip()) > MOST_BEHIND or not set(_NUMBER.findall(behind)) <= set(_NUMBER.findall(stated)):
        return None
    before = text[: match.start()]
    if value and _OPERATOR.search(before[-4:]):  # "3 + 4 = 7 is the answer" works it out as well
        return match.end("value" if match["value"] else "right_value")
    near = max(0, len(before) - MOST_LEAD)
    lead = SENTENCE_END.split(before[near:])[-1]
    if _PURPOSE.match(lead) and not re.search(r"\d", lead):
        return None
    whole = len(lead) < len(before) - near or near == 0  # the sentence begins where it seems to
    if whole and (value or len(re.findall(r"\w+", lead)) <= 5) and not re.search(r"\d", lead):
        return len(before) - len(lead)
    rest = _without_connectors(before)
    return None if value and rest == before.rstrip() else len(rest)  # no half of "as 3 or 19 is correct"


def _is_value(stated: str) -> bool:
    """Whether what is stated begins with a number or an option, or is a number in words."""
    words = number_in_words(stated)
    return bool(_VALUE.match(stated)) or (words is not None and len(words[1]) <= 2)


def _without_connectors(text: str) -> str:
    while True:
        text = text.rstrip(" \n\t,;:*")
        word = _CONNECTORS.search(text[-16:])
        if word is None:
            return text
        text = text[: -len(word[0])]
