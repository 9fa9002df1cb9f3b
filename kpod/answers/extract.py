"""The answer in a text: exact match on numbers or on the option.

Decisions, each of which a test pins down:
- A dozen is 12, a lakh 100,000 and a million a million where they are stated. The last number of a text that states
  nothing is read without "dozen" or "million": a rationale that is asked for dozens works in dozens.
- An answer that offers several numbers ("5 or 6"), or that the grammar of numbers does not cover ("sqrt(3)/2", "5!",
  "3x"), is kept as a text, so it is never a number by luck.
- What is denied or corrected ("not 5, it is 6", "5... no, 6") is not the answer.
"""

import re
from collections.abc import Sequence

from kpod.answers.clock import TIME
from kpod.answers.denial import affirmed, corrected, last_match
from kpod.answers.equality import Answer, answers_equal
from kpod.answers.latex import unboxed
from kpod.answers.options import last_option, stated_option
from kpod.answers.quantities import CURRENCY, NUMBER, PERCENT, Quantity, decimal_text, parse
from kpod.answers.spelling import normalize
from kpod.answers.statements import SENTENCE_END, stated

_NEXT_QUESTION = re.compile(r"(?<=\S)\s+Q:")
_BOX, _BOX_MARK = re.compile(r"\s*<box>(.*?)</box>"), re.compile(r"</?box>")
_WORDS_THAT_END_IT = "and|or|to|because|since|so|as|is|which|plus|minus|times|for|if|not|but|rather|instead"
_UNIT = rf"(?: ?(?:%|(?!(?:x(?![A-Za-z])|(?:{_WORDS_THAT_END_IT})\b))[A-Za-z°¢€£$]+(?:\^[23])?))"
_TERM = (
    rf"(?:(?<![A-Za-z0-9)])[-+]|negative |minus )?(?:{CURRENCY})?(?:-(?=[0-9.]))?{NUMBER}"
    rf"(?: and (?:an?|one|two|three) (?:half|halves|thirds?|quarters?)\b)?(?:{PERCENT})?{_UNIT}{{0,3}}"
)
_GROUP = rf"\({{0,4}}{_TERM}\){{0,4}}"
_EXPRESSION = rf"{_GROUP}(?: ?[-+*x/] ?{_GROUP})*"
_CHAIN = re.compile(rf"(?<![A-Za-z_0-9.,^]){_EXPRESSION}(?: ?= ?{_EXPRESSION})*", re.IGNORECASE)
_COUNTED = r"(?: ?(?:lakhs?|lacs?|crores?)\b)?"
_BARE = re.compile(
    rf"(?<![A-Za-z_0-9.,^])(?:(?<!\))-)?(?:{CURRENCY})?(?:-(?=[0-9.]))?{NUMBER}(?: and a half\b)?"
    rf"(?:{PERCENT})?{_COUNTED}",
    re.IGNORECASE,
)
_TIME = re.compile(rf"{TIME}(?!\w)")
_LEAD = re.compile(
    r"\W*(?:(?:about|approximately|approx\.|roughly|around|exactly|just|only|simply|equal to|a total of|no\.|number|at|"
    r"therefore|thus|hence|then|[a-z] ?=)\W+)*",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"[\s\"'(*:]*(?:(?:about|approximately|approx\.|roughly|around|exactly|just|only|simply|at)\s+)+", re.IGNORECASE
)
_ANOTHER = re.compile(
    rf"(?: ?(?:,? ?(?:and|or|to)|-) ?|[,;]? (?=[0-9]|[a-z] ?= ?[-0-9]))(?:[a-z] ?= ?)?(?P<second>{_TERM})",
    re.IGNORECASE,
)
_EVASIVE = re.compile(
    r"\W*(?:\w+ly )?"
    r"(?:not|neither|nor|between|either|(?:no )?(?:more|less|fewer|greater) than|at (?:least|most)|half|quarter|twice|"
    r"thrice|[a-z]+ times|double|triple|up to|over|under)\b",
    re.IGNORECASE,
)
_IN_WORDS = [
    (re.compile(r"(?<=\d) plus (?=\d)"), " + "),
    (re.compile(r"(?<=\d) minus (?=\d)"), " - "),
    (re.compile(r"(?<=\d) (?:times|multiplied by) (?=\d)"), " x "),
    (re.compile(r"(?<=\d) divided by (?=\d)"), " / "),
    (re.compile(r"(?<=\d) equals (?=[-$\d])"), " = "),
    (re.compile(r"(?<=\d) point (?=\d)"), "."),
]
# What stands beside a number and makes it a part of something that is no number.
_BOUND_LEFT = re.compile(
    r"(?:(?:sqrt|root\d?|log|ln|sin|cos|tan|exp|√|\\[A-Za-z]+)[\s({]*|[<>≤≥±∓∞π^]\s*|[\wπ)\]!](?:[+*/^]|\s[+*/^]\s)|[\dπ)\]]\s-\s|"
    r"\b[a-z]\s-\s)$",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(r"(?<![A-Za-z])[A-Za-z]\s?[-+*/^]\s?$")
_BOUND_RIGHT = re.compile(
    r"\)*\s*(?:[√π∞^±∓!<>≤≥]|\\[A-Za-z]|(?:sqrt|log|ln|sin|cos|tan)\b|[*x/+]\s?[a-z(√π\\]\b|[-+]\s[a-z]\b|"
    r"['\"_:]\s?\d|(?:to the (?:\w+ )?power|choose|mod|modulo|squared|cubed|factorial)\b|"
    r"and (?:an? |one )?(?:half|quarter)\b)|"
    r"(?<=\d)(?:(?-i:[xyznabieqruvw])\b(?!\.)|\([^)]{0,9}\d)",
    re.IGNORECASE,
)
_CRY = re.compile(r"!+\s*(?:$|\n|[\"'*)]*\s[A-Z])")
_SEVERAL = re.compile(r"[,;](?!\d{3})|\b(?:or|and)\b")
_DENIED = re.compile(r"(?:\bnot|n't|\brather than|\binstead of|\bneither|\bnor)\s+\W{0,3}$", re.IGNORECASE)
_BULLET = re.compile(r"(?:[-*•–—‣▪·]|\(?\d{1,2}[.)](?=\s+\S))\s+")


def extract_answer(text: str, choices: Sequence[str] | None = None) -> str | None:
    """Extract the answer of `text`: what follows its last "the answer is", else its last number or option letter.

    A number is returned without separators, currency and units ("1,234.50 dollars" gives "1234.50"; the % sign stays),
    but keeps its units for `answers_equal`, to which "4 pears" is not "4 apples". A stated answer that is no number is
    returned as text. With `choices` the answer is the letter of an option ("A" is the first). None if there is none.
    """
    text = _plain(text)
    clause, rest, boxed = _last_statement(text)
    if boxed:
        return stated_option(clause, choices) if choices else _boxed(clause)
    if clause:
        claim = affirmed(clause, rest)
        return stated_option(clause_of(claim)[0], choices) if choices else _stated(claim or clause)
    text = _BOX_MARK.sub(" ", text)
    return last_option(text, choices) if choices else _last(text)


def stated_text(text: str) -> str | None:
    """The words of the last statement of an answer, not parsed; None if no answer is stated."""
    clause, rest, _ = _last_statement(_plain(text))
    return affirmed(clause, rest).strip(" \"'") or clause or None


def clause_of(text: str) -> tuple[str, str]:
    """The clause that `text` begins with, up to the end of its sentence or line, and the text after it."""
    begun = text.lstrip(" \n\t:*=")
    if "\n" in text[: len(text) - len(begun)] or "\n" in text[: text.find("*") + 1]:  # a list behind "the answer is:"
        while bullet := _BULLET.match(begun):
            begun = begun[bullet.end() :]
    end = SENTENCE_END.search(begun)
    return (begun[: end.start()].strip(), begun[end.end() :]) if end else (begun.strip(), "")


def _plain(text: str) -> str:
    """The text up to the next question in plain spelling, with each box as "the answer is <box>...</box>", if it holds
    anything.
    """
    text = _NEXT_QUESTION.split(text)[0]
    pieces, at = [], 0
    for begin, end, content in unboxed(text):
        pieces.append(text[at:begin])
        if content.strip():
            pieces.append(f" the answer is <box>{' '.join(content.split())}</box>. ")
        at = end
    return normalize("".join(pieces) + text[at:])


def _last_statement(text: str) -> tuple[str, str, bool]:
    """The last clause that states an answer, the text after it, and whether it is a box; "" if there is none."""
    for statement in stated(text):
        box = _BOX.match(statement)
        clause, rest = (box[1].strip(), "") if box else clause_of(corrected(_BOX_MARK.sub(" ", statement)))
        if clause:
            return clause, rest, box is not None
    return "", "", False


def _boxed(content: str) -> str:
    """A box holds a number or a formula, seldom a sentence."""
    before, _, statement = content.rpartition("=")
    if quantity := parse(content if _SEVERAL.search(before) else statement):
        return Answer(quantity)
    formula = re.search(r"[!\\^√π∞{}<>≤≥±≈,;()_|]|\d ?: ?\d|\bsqrt|\d[a-z]\b|\b[a-z]\b", content)
    return content.strip() if formula else _stated(content)


def _stated(clause: str) -> str:
    """The number that a clause after "the answer is" states, else its words."""
    clause = re.sub(r"^- (?=[0-9.$])", "-", clause)
    for pattern, sign in _IN_WORDS:
        clause = pattern.sub(sign, clause)
    if quantity := parse(clause[hedge.end() :] if (hedge := _HEDGE.match(clause)) else clause):
        return Answer(quantity)
    if (moment := _TIME.search(clause)) and _LEAD.fullmatch(clause, 0, moment.start()):
        return moment[0]
    chains = list(_CHAIN.finditer(clause))
    if not chains or _EVASIVE.match(clause):
        return clause.strip(" \"'") or clause
    # "8, since 5 + 4 - 1 = 8" begins with its answer; "that after 3 days 5 are left" has it at the end.
    chain = chains[0] if _LEAD.fullmatch(clause, 0, chains[0].start()) else chains[-1]
    bound = _UNKNOWN if "=" in chain[0] else _BOUND_LEFT  # sqrt(16) = 4 is 4; 3x + 14 = 0 is an equation
    if bound.search(clause, max(0, chain.start() - 20), chain.start()):
        return clause
    if beside := _BOUND_RIGHT.match(clause, chain.end()):
        # "5! = 120": what it comes to is said behind it; "2x = 10" is an equation.
        at = -1 if re.search(r"[a-z]\Z", beside[0]) else clause.rfind("=")
        return _stated(clause[at + 1 :]) if at > chain.start() else clause
    value = chain[0].split("=")[-1].strip()
    if another := _ANOTHER.match(clause, chain.end()):
        return _two(value, another["second"]) or clause[chain.start() : another.end()]
    return _written(value)


def _last(text: str) -> str | None:
    """The last number of a text that it does not deny."""
    match = last_match(_BARE.finditer(text))
    if match is None:
        return None
    while _DENIED.search(text, max(0, match.start() - 30), match.start()):
        match = last_match(_BARE.finditer(text, max(0, match.start() - 500), match.start()))
        if match is None:
            return None
    if (moment := _TIME.search(text, max(0, match.start() - 12))) and moment.start() <= match.start() < moment.end():
        return moment[0]
    if _BOUND_LEFT.search(text, max(0, match.start() - 20), match.start()):
        return None
    if _BOUND_RIGHT.match(text, match.end()) and not _CRY.match(text, match.end()):
        return None
    return _written(match[0])


def _two(first: str, second: str) -> str | None:
    """ "5 dollars and 20 cents" is one amount, and "1/2 or 0.5" one value; other pairs are no single answer."""
    x, y = parse(first), parse(second)
    if x is None or y is None:
        return None
    if x.units == {"dollar"} and y.units == {"cent"}:
        value = x.value + y.value / 100
        return Answer(Quantity(value, False, x.units, decimal_text(value)))
    return Answer(x) if answers_equal(first, second) else None


def _written(term: str) -> str:
    quantity = parse(term)
    return Answer(quantity) if quantity else term.strip()
