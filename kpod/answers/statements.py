"""Patterns of statements of an answer: "the answer is X", "X is the answer", "<answer>X</answer>", other languages."""

import re
from collections.abc import Iterator

from kpod.answers.number_words import SMALL
from kpod.answers.quantities import CURRENCY

_KIND = r"(?:(?:final|correct|right|best|actual|only|most \w{1,20}|closest|required|complete)\s+){0,2}"
FORWARD = (
    # English: the answer is, the correct option is, the answer to the question is, Answer:
    r"\b(?:the|our|my|your|this|final)\s+(?:[\w-]+\s+){0,2}?answers?(?: to [^.?!\n]{1,80})?\s*"
    r"(?:\b(?:is|are|(?P<modal>(?:would|should|must) be)|equals|comes? out (?:to be|as|to))\b|[:=])|"
    r"\banswers?\"?\s*[:=]|"
    r"\bthe\s+(?:(?:correct|right|best|final|most \w{1,20})\s+){1,2}(?:option|choice|letter|solution)\s+"
    r"(?P<named>is|(?:would|should|must) be)\b|"
    r"\b(?:so|thus|hence|therefore),?\s+the\s+(?:option|choice|solution)\s+is\b(?=\W{0,4}(?:\d|[A-J]\b))"
    r"(?![^.\n]{0,12}%)|"
    r"\b(?:correct|right|final|best) (?:option|choice)\s*:|"
    # A heading, a tag, GSM8K's mark
    r"(?:^|(?<=\n))[ \t]*(?:#{1,6}|\*\*)[ \t]*(?:final )?answer[*: \t]*(?=\n)|"
    r"<(?:final_?)?answer>|<final>|####(?=\W{0,4}(?:\d|[A-J]\b))|"
    # Spanish, Portuguese, Italian
    r"\b(?:la|a|su)\s+(?:respuesta|resposta|risposta|opción)(?:\s+(?:final|correcta|correta|finale|corretta))?"
    r"(?:\s+(?:es|é|è|será|sería)\b|\s*:)(?:\s+(?:por lo tanto|entonces|pues|portanto|quindi)\b,?)?|\brespuesta\s*:|"
    # French
    r"\bla\s+(?:bonne\s+)?(?:réponse|option)(?:\s+(?:finale|correcte|exacte))?(?:\s+(?:est|serait)\b|\s*:)"
    r"(?:\s+(?:donc|alors)\b)?|\bréponse(?: finale)?\s*:|"
    # German, also with the verb in front: Also lautet die Antwort 7
    r"\bdie\s+(?:\w+e\s+)?(?:antwort|lösung|option)(?:\s+(?:ist|lautet|wäre)\b|\s*:)(?:\s+(?:also|daher|somit)\b)?|"
    r"\b(?:ist|lautet)\s+(?:(?:also|daher|somit)\s+)?die\s+(?:\w+e\s+)?(?:antwort|lösung)(?:\s+(?:also|daher|somit)\b)?"
    r"(?=\s*:?\s*\W{0,4}(?:\d|[A-J]\b))|\b(?:antwort|lösung)\s*:|"
    # Chinese, Japanese, Russian
    r"(?:正确|最终|最后)?的?答案(?:就|应该|应)?(?:是|为|為|选|選|[:\uff1a]| is)|正确(?:的)?选项(?:是|为)|"
    r"(?:故|所以|因此|应|應)(?:该|該)?[选選](?:择|擇|项)?(?=[:\uff1a\s]{0,2}[(\uff08]?[A-J])|(?:正解|答え)は|"
    r"\bответ\s*(?:[:—-]|равен\b)"
)
_MARK = r"[\"'(\[*_$\\{]{0,4}"
_WORDS = rf"(?:{'|'.join(word for word in SMALL if word != 'one')})(?:[ -][a-z]{{1,20}}){{0,3}}?"
VALUE = (
    rf"(?:[-+−]?(?:{CURRENCY})?[-−]?\d[\d,./]{{0,30}}(?: ?%| [a-zA-Z]{{1,20}}){{0,3}}?|"
    rf"\(?(?-i:[A-J])(?![\w'])\)?|{_WORDS}\b)"
)
BACKWARD = (
    rf"(?<![\w.,/$€£:^-])(?P<value>{_MARK}{VALUE}[\"')\]*_$}}]{{0,4}})\s+(?:is|are|would be|must be|should be)\s+"
    rf"(?:therefore |thus |hence |then |indeed )?(?:the|our|my)\s+{_KIND}(?:answer|option|choice|solution)\b"
    r"(?! to be\b)"
)
STATEMENT = re.compile(rf"(?:{FORWARD})[ \t]*:?|{BACKWARD}", re.IGNORECASE)
_SHORTENED = r"(?<!\bapprox)(?<!\bRs)(?<!\bca)(?<!\d [ap]\.m)(?<!\d[ap]\.m)(?<!\d [AP]\.M)(?<!\d[AP]\.M)"
_AFTER = r"(?=\s|$|[\"')\]*}<])"
SENTENCE_END = re.compile(
    rf"{_SHORTENED}\.[.!?]*{_AFTER}(?! ?[mM]\.)|(?<![\d)])[!?][.!?]*{_AFTER}|"
    # "5! ways" is a factorial, "42! Well done" a cry
    r"(?<=[\d)])!+(?=[\"'*)]*(?:$|\n|\s+[A-Z]))|(?<=[\d)])[?][.!?]*(?=\s|$)|[。！？]|</[A-Za-z]+>|<\||\n"
)


def stated(text: str) -> Iterator[str]:
    """The text from the answer on, for each statement of an answer in `text`, the last one first.

    If the answer precedes the statement ("7 is the answer"), the answer alone.
    """
    for match in reversed(list(STATEMENT.finditer(text))):
        yield match["value"] or text[match.end() :]
