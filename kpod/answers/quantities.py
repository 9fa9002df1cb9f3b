"""Exact numbers as people write them: signs, thousands, decimals, fractions, percent, currency, units, words.

Everything is parsed by a strict grammar of the *whole* text into a Fraction: no eval, no floats, no rounding. What
the grammar does not know ("1,23", "3:2", "5 or 6", "2^10", "5!", "3x", "sqrt(3)/2") is no number, so it can never
equal one by accident.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from kpod.answers.clock import time_of_day
from kpod.answers.number_words import PARTS, SCALE, SMALL, number_in_words
from kpod.answers.spelling import normalize
from kpod.answers.units import units

LONGEST = 1000  # characters of a number; beyond, it is compared as text (and Python refuses such integers)

# One number without its sign: anything that looks like one is taken whole, so that no part of it passes for another.
_OUTSIDE = " ,;:!?\"'()[]{}"
NUMBER = (
    r"(?:[0-9]+ (?:and |& ?)?[0-9]+/[0-9]+(?![0-9/])"  # 2 1/2, 2 and 1/2
    r"|[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?(?![0-9,/:^]*[0-9])"  # 12 000
    r"|(?:[0-9](?:[0-9,.:/^]*[0-9])?|\.[0-9]+)"
    r"(?: ?[x*] ?10 ?\^ ?\{?[-+]?[0-9]+\}?|[eE][+-]?[0-9]+\b|\^\{?-[0-9]+\}?)?)"
)
CURRENCY = r"(?:(?:US|AU|CA|A|C|HK|NZ|S)?[$€£¥₹₩₽]|(?:Rs|INR|USD|EUR|GBP)\b\.?) ?"
PERCENT = r" ?%|[ -]?(?:percents?|per[ -]?cent|pct)\b\.?"
_GROUPS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?: [0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}|[0-9]+)"
_DECIMAL = re.compile(rf"(?P<whole>{_GROUPS})?(?:\.(?P<part>[0-9]+))?")
# Only where a point cannot be a decimal point: 1.234.567, 1.234,50
_CONTINENTAL = re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}(?:,[0-9]+)?|\.[0-9]{3},[0-9]{1,2})")
_FRACTION = re.compile(rf"(?:(?P<whole>[0-9]+)(?: (?:and |& ?)?))?(?P<top>{_GROUPS})/(?P<bottom>{_GROUPS})")
_SCIENTIFIC = re.compile(r"(?P<base>[^x*eE]+?)(?: ?[x*] ?10 ?\^ ?\{?\+?|[eE]\+?)(?P<power>-?[0-9]{1,3})\}?")
_QUANTITY = re.compile(
    rf"(?:[A-Za-z] ?= ?)?(?P<sign1>[-+] ?|negative |minus )?(?P<before>{CURRENCY})?(?P<sign2>[-+])?"
    rf"(?P<number>{NUMBER})(?P<tail>[^0-9]*|[^0-9]+\^[23][^0-9]*)",
    re.IGNORECASE,
)
_SAID_PART = re.compile(
    r" and (?:(?P<a>an?|one|two|three|four|five|seven)[ -])?"
    r"(?P<part>half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?)\b"
    r"(?: (?:of )?an? )?",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(?:minus |negative |[-+$£€ ])*[0-9]", re.IGNORECASE)
_SAID_DECIMALS = re.compile(r"(?<=[0-9]) point (?=[0-9])", re.IGNORECASE)
_SCALE = {**SCALE, "k": 1000, "mn": 10**6, "mil": 10**6, "bn": 10**9, "tn": 10**12,
    "lakhs": 10**5, "lacs": 10**5, "crores": 10**7, "dozens": 12}  # fmt: skip
_GLUED_SCALE = {"M": 10**6, "B": 10**9, "T": 10**12}  # 5M; 5m are metres
_POWERS = {"squared", "cubed"}
_JOINS = {"or", "and", "to", "but", "not", "plus", "minus", "times", "x", "versus", "vs", "through", "factorial",
    "permille", "modulo", "mod", "choose"}  # fmt: skip
_NO_TAIL = re.compile(
    r"[+*=^<>!√∞π≈≥≤±\\|~]|/ ?$|^ ?/ ?\(|\b(?:sqrt|log|ln|sin|cos|tan|root\d?|pi)\b|^[a-z]?\(|^[xyznabieqruvw]\b(?!\.)"
)


@dataclass(frozen=True)
class Quantity:
    """A number with its units."""

    value: Fraction
    percent: bool  # written with a percent sign; `value` is not divided by 100
    units: frozenset[str]  # normalised, see `kpod.answers.units`
    written: str  # the number as written, without separators and units


def parse(text: str) -> Quantity | None:
    """Parse the whole `text` as a quantity; None if it is anything else."""
    if len(text) > 2 * LONGEST:
        return None
    text = re.sub(r"(?<=[0-9]) ?/ ?(?=[0-9])", "/", re.sub(r"\s+", " ", normalize(text)))
    text = text.strip("$ ").strip() if text.count("$") == 2 else text  # LaTeX's own
    if re.search(r"[0-9)]!", text):  # 5! is 120, or a cry
        return None
    text = text.lstrip(_OUTSIDE).rstrip(_OUTSIDE + ".")
    if len(text) > LONGEST:
        return None
    text = _SAID_DECIMALS.sub(".", _SAID_PART.sub(_part_in_digits, text, count=1) if _DIGITS.match(text) else text)
    match = None if time_of_day(text) else _QUANTITY.fullmatch(text)
    return _in_digits(match) if match else _in_words(text)


def conflict(a: Quantity, b: Quantity) -> bool:
    """Whether both have units and share none of them, such as 5 km and 5 miles."""
    return bool(a.units and b.units and not a.units & b.units)


def decimal_text(value: Fraction) -> str:
    """A non-negative value as a decimal where it has a finite one, else as a fraction."""
    for places in range(310):
        if value.denominator == 1 or 10**places % value.denominator == 0:
            digits = str(value.numerator * 10**places // value.denominator).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return str(value)


def _part_in_digits(match: re.Match[str]) -> str:
    """3 and a half hours: 3 1/2 hours."""
    part = match["part"].lower()
    parts = 4 if part.startswith("quarter") else PARTS[part.removesuffix("s") if part != "halves" else "half"]
    return f" {SMALL.get((match['a'] or '').lower(), 1)}/{parts} "


def _in_words(text: str) -> Quantity | None:
    parsed = number_in_words(text)
    if parsed is None or (_JOINS | _POWERS) & set(parsed[1]):
        return None
    value, rest = parsed
    count = len(rest)
    rest = rest[2:] if rest[:2] == ["per", "cent"] else rest[1:] if rest[:1] in (["percent"], ["pct"]) else rest
    whole, part = divmod(abs(value), 1)
    written = f"{'-' if value < 0 else ''}{f'{whole} {part}' if whole and part else abs(value)}"
    return Quantity(value, len(rest) < count, units(rest), written + ("%" if len(rest) < count else ""))


def _in_digits(match: re.Match[str]) -> Quantity | None:
    tail = match["tail"]
    value = _exact(match["number"])
    percent = re.match(PERCENT, tail, re.IGNORECASE)
    after = re.sub(
        r"(?<=[A-Za-zµ])\^[23]|(?<=.)\([^()]*\)", "", tail[percent.end() :] if percent else tail
    )  # cm^2, (left)
    words = [word for word in re.split(r"[^A-Za-z°µ¢$€£¥₹]+", after.lower()) if word]
    signs = [match[name].strip().lower() for name in ("sign1", "sign2") if match[name]]
    if value is None or len(signs) > 1 or (_JOINS | _POWERS) & set(words) or _NO_TAIL.search(after):
        return None
    negative = signs not in ([], ["+"])
    before = (match["before"] or "").strip()
    scale = Fraction(1)
    if glued := re.match(r"[MBT]\b", after):
        scale, words = Fraction(_GLUED_SCALE[glued[0]]), words[1:]
    while words and words[0] in _SCALE and not (words[0] == "gross" and before):  # $500 gross
        scale *= _SCALE[words.pop(0)]
    if words and (parts := PARTS.get(words[0].removesuffix("s"), 1)) > 1:  # 2 thirds; 3 quarters are coins
        scale, words = scale / parts, words[1:]
    value *= -scale if negative else scale
    written = re.sub(r" (?:and |& ?)", " ", match["number"])
    if scale != 1 or re.search(r"[x*e]|\..*[.,]", written, re.IGNORECASE):
        written = decimal_text(abs(value))
    elif "/" not in written:
        written = re.sub(r"[, ]", "", written)
    text = f"{'-' if negative else ''}{written}{'%' if percent else ''}"
    return Quantity(value, percent is not None, units([before.rstrip("."), *words]), text)


def _exact(number: str) -> Fraction | None:
    """The value of a text that NUMBER matched; None for a date, a ratio, a bad grouping or a division by zero."""
    if match := _FRACTION.fullmatch(number):
        top, bottom = _integer(match["top"]), _integer(match["bottom"])
        if bottom == 0 or (match["whole"] and top >= bottom):  # 4 10/3 is no mixed number
            return None
        return Fraction(match["whole"] or 0) + Fraction(top, bottom)
    if match := _SCIENTIFIC.fullmatch(number):
        base = _exact(match["base"])
        return base * Fraction(10) ** int(match["power"]) if base is not None else None
    if _CONTINENTAL.fullmatch(number):
        number = number.replace(".", "").replace(",", ".")
    if match := _DECIMAL.fullmatch(number):
        part = match["part"] or ""
        return _integer(match["whole"] or "0") + Fraction(int(part or 0), 10 ** len(part))
    return None


def _integer(text: str) -> int:
    return int(re.sub(r"[, ]", "", text))
