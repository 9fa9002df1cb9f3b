"""The answer in a text, and whether two answers are the same (METHOD: exact match on numbers or on the option).

Decisions, each of which a test pins down:
- Values are compared exactly: 0.5 = 1/2, 42.0 = 42, and 0.333 is not 1/3. Nothing is rounded, nothing evaluated.
- Currency, separators and units do not matter, unless both name a unit and the units differ (5 km, 5 miles).
- A percentage equals the same number without its sign (the gold of "what percentage?" is often a bare 50) and the
  value it stands for: 50% = 50 and 50% = 0.5, while 50 is not 0.5.
- An answer that offers several numbers ("5 or 6") is kept as a text, so it is never a number by luck.
- No answer equals an empty one.
"""

import re
from collections.abc import Sequence

from kpod.answers.options import last_option, stated_option
from kpod.answers.quantities import CURRENCY, NUMBER, conflict, decimal_text, parse, plain

STATEMENT = re.compile(
    r"(?:\b(?:the|our|my|your|this|final)\s+(?:[\w-]+\s+){0,2}?answers?(?: to [^.?!\n]{1,80})?\s*"
    r"(?:\b(?:is|are|(?P<modal>(?:would|should|must) be)|equals)\b|[:=])|\banswers?\s*[:=]|"
    r"####(?=\W{0,4}(?:\d|[A-J]\b)))\s*:?",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
SENTENCE_END = re.compile(r"(?<!\bapprox)(?<!\bRs)(?<!\bca)[.!?]+(?=\s|$|[\"')\]*}])|\n")
_NEXT_QUESTION = re.compile(r"(?<=\S)\s+Q:")

_WORDS_THAT_END_IT = "and|or|to|because|since|so|as|is|which|plus|minus|times|for|if|not|but"
_UNIT = rf"(?: ?(?:%|(?!(?:x(?![A-Za-z])|(?:{_WORDS_THAT_END_IT})\b))[A-Za-z°¢€£$]+))"
_TERM = rf"(?:(?<![A-Za-z0-9)])[-+]|negative |minus )?{CURRENCY}?(?:-(?=[0-9.]))?{NUMBER}{_UNIT}{{0,3}}"
_GROUP = rf"\({{0,4}}{_TERM}\){{0,4}}"
_EXPRESSION = rf"{_GROUP}(?: ?[-+*x/] ?{_GROUP})*"
_CHAIN = re.compile(rf"(?<![A-Za-z_0-9.,]){_EXPRESSION}(?: ?= ?{_EXPRESSION})*", re.IGNORECASE)
_BARE = re.compile(rf"(?<![A-Za-z_0-9.,])(?:(?<!\))-)?{CURRENCY}?(?:-(?=[0-9.]))?{NUMBER}(?: ?%)?")
_LEAD = re.compile(
    r"\W*(?:(?:about|approximately|approx\.|roughly|around|exactly|just|only|simply|equal to|a total of|[a-z] ?=)\W+)*",
    re.IGNORECASE,
)
_ANOTHER = re.compile(rf"(?: ?(?:,? ?(?:and|or|to)|-) ?|[,;]? (?=[0-9]))(?P<second>{_TERM})", re.IGNORECASE)
_EVASIVE = re.compile(
    r"\W*(?:\w+ly )?"
    r"(?:not|between|either|(?:no )?(?:more|less|fewer|greater) than|at (?:least|most)|half|twice|double)\b",
    re.IGNORECASE,
)
_IN_WORDS = [
    (re.compile(r"(?<=\d) plus (?=\d)"), " + "),
    (re.compile(r"(?<=\d) minus (?=\d)"), " - "),
    (re.compile(r"(?<=\d) (?:times|multiplied by) (?=\d)"), " x "),
    (re.compile(r"(?<=\d) divided by (?=\d)"), " / "),
    (re.compile(r"(?<=\d) equals (?=[-$\d])"), " = "),
]
_ROOT = re.compile(r"(?:sqrt|√|log)\W*$", re.IGNORECASE)


def extract_answer(text: str, choices: Sequence[str] | None = None) -> str | None:
    """The answer that `text` gives: what follows its last "the answer is", else its last number or option letter.

    A number comes without separators, currency and units ("1,234.50 dollars" gives "1234.50"; the % sign stays).
    With `choices` the answer is the letter of an option ("A" is the first). None if the text gives no answer.
    """
    text = plain(_NEXT_QUESTION.split(_BOXED.sub(r" the answer is \1 . ", text))[0])
    for match in reversed(list(STATEMENT.finditer(text))):
        clause = clause_of(text[match.end() :])[0]
        if clause:
            return stated_option(clause, choices) if choices else _stated(clause)
    if choices:
        return last_option(text, choices)
    numbers = _BARE.findall(text)
    return _written(numbers[-1]) if numbers else None


def answers_equal(a: str | None, b: str | None) -> bool:
    """Whether two answers are the same, see the top of this module; symmetric, and False if either is missing."""
    if not a or not b:
        return False
    x, y = parse(a), parse(b)
    if x is None and y is None:
        return _same_text(_key(a), _key(b))
    if x is None or y is None or conflict(x, y):
        return False
    if x.percent != y.percent:
        share, other = (x.value, y.value) if x.percent else (y.value, x.value)
        return other in (share, share / 100)
    return x.value == y.value


def clause_of(text: str) -> tuple[str, str]:
    """The statement that `text` begins with, and the rest."""
    text = text.lstrip(" \n\t:*")
    end = SENTENCE_END.search(text)
    return (text[: end.start()].strip(), text[end.end() :]) if end else (text.strip(), "")


def _stated(clause: str) -> str:
    """The number that a clause after "the answer is" states, else its words."""
    clause = re.sub(r"^- (?=[0-9.$])", "-", clause)
    for pattern, sign in _IN_WORDS:
        clause = pattern.sub(sign, clause)
    chains = list(_CHAIN.finditer(clause))
    if not chains or _EVASIVE.match(clause):
        quantity = parse(clause)
        return quantity.written if quantity else clause.strip(" \"'") or clause
    # "8, since 5 + 4 - 1 = 8" begins with its answer; "that after 3 days 5 are left" has it at the end.
    chain = chains[0] if _LEAD.fullmatch(clause, 0, chains[0].start()) else chains[-1]
    if "=" not in chain[0] and _ROOT.search(clause, 0, chain.start()):
        return clause
    value = chain[0].split("=")[-1].strip()
    if another := _ANOTHER.match(clause, chain.end()):
        return _two(value, another["second"]) or clause[chain.start() : another.end()]
    return _written(value)


def _two(first: str, second: str) -> str | None:
    """ "5 dollars and 20 cents" is one amount, and "1/2 or 0.5" one value; other pairs are no single answer."""
    x, y = parse(first), parse(second)
    if x is None or y is None:
        return None
    if x.units == {"dollar"} and y.units == {"cent"}:
        return decimal_text(x.value + y.value / 100)
    return x.written if answers_equal(first, second) else None


def _written(term: str) -> str:
    quantity = parse(term)
    return quantity.written if quantity else term.strip()


def _key(text: str) -> str:
    """A text answer without case, outer punctuation and article: "The Cat." is "cat", "(B) cat" is "b) cat"."""
    text = " ".join(plain(text).casefold().split()).strip(" .,;:!?\"'()[]")
    return re.sub(r"^(?:the|an?) ", "", text)


def _same_text(a: str, b: str) -> bool:
    """Equal texts, or an option's letter and the same letter with the option's words behind it."""
    short, long = sorted((a, b), key=len)
    return short != "" and (short == long or (len(short) == 1 and short.isalpha() and long.startswith(f"{short}) ")))
