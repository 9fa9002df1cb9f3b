"""Exact numbers as people write them: signs, thousands, decimals, fractions, percent, currency, units, words.

Everything is parsed by a strict grammar of the *whole* text into a Fraction: no eval, no floats, no rounding. What
the grammar does not know ("1,23", "3:2", "5 or 6", "2^10") is no number, so it can never equal one by accident.
"""

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from kpod.answers.number_words import SCALE, number_in_words

LONGEST = 1000  # characters of a number; beyond, it is compared as text (and Python refuses such integers)

_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8"}
_PLAIN = str.maketrans(
    {"−": "-", "×": "x", "÷": "/", "⁄": "/", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "“": '"', "”": '"', "’": "'"}
)
_LATEX = [
    (re.compile(r"(?<=\w)\s*\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2"),  # 2 1/2
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"(?<=\d) and (?:a|one)[ -]half\b"), " 1/2"),
    (re.compile(r"(?<=\d) and (?:a|one)[ -]quarter\b"), " 1/4"),
    (re.compile(r"(?<=\d)['_](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<=\d) ?\*\* ?(?=\d)"), "^"),
    (re.compile(r"\^\{(-?\d+)\}"), r"^\1"),
    (re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\\(?:times|cdot)\b"), "x"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\[()\[\],;:! ]|\*\*|`"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"–(?=[\d$€£.])"), "-"),
    (re.compile(r"[ \t]+"), " "),
]

# One number without its sign: anything that looks like one is taken whole, so that no part of it passes for another.
_OUTSIDE = " ,;:!?\"'()[]{}"
NUMBER = (
    r"(?:[0-9]+ [0-9]+/[0-9]+(?![0-9/])"  # 2 1/2
    r"|[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?(?![0-9,/:^]*[0-9])"  # 12 000
    r"|(?:[0-9](?:[0-9,.:/^²³]*[0-9²³])?|\.[0-9]+)(?: ?[x*] ?10 ?\^ ?\{?-?[0-9]+\}?|[eE][+-]?[0-9]+\b)?)"
)
CURRENCY = r"(?:(?:US)?[$€£¥₹] ?)"
_INT = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]{0,2}(?: [0-9]{3})+|[0-9]+)"
_DECIMAL = re.compile(rf"(?P<whole>{_INT})?(?:\.(?P<part>[0-9]+))?")
_FRACTION = re.compile(rf"(?:(?P<whole>[0-9]+) )?(?P<top>{_INT})/(?P<bottom>{_INT})")
_SCIENTIFIC = re.compile(r"(?P<base>[^x*eE]+?)(?: ?[x*] ?10 ?\^ ?\{?|[eE]\+?)(?P<power>-?[0-9]{1,3})\}?")
_QUANTITY = re.compile(
    rf"(?:[A-Za-z] ?= ?)?(?P<sign1>[-+] ?|negative |minus )?(?P<before>{CURRENCY})?(?P<sign2>[-+])?"
    rf"(?P<number>{NUMBER})(?P<percent> ?%| ?percent\b)?(?P<after> ?[^0-9]*)",
    re.IGNORECASE,
)
_SCALE = {**SCALE, "k": 1000, "mn": 10**6, "bn": 10**9}
_PARTS = {"half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000}  # fmt: skip
_POWERS = {"squared", "cubed"}
_JOINS = {"or", "and", "to", "but", "not", "plus", "minus", "times", "x", "versus", "vs"}
_VAGUE = {"of", "the", "a", "an", "in", "per", "total", "left", "more", "remaining", "each", "altogether", "now"}
_SAME_UNIT = {
    "$": "dollar", "us$": "dollar", "usd": "dollar", "buck": "dollar", "€": "euro", "eur": "euro", "£": "poundsterling",
    "gbp": "poundsterling", "¥": "yen", "₹": "rupee", "¢": "cent", "km": "kilometer", "kilometre": "kilometer",
    "m": "meter", "metre": "meter", "cm": "centimeter", "centimetre": "centimeter", "mm": "millimeter",
    "millimetre": "millimeter", "ft": "foot", "feet": "foot", "inche": "inch", "yd": "yard", "mi": "mile",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "oz": "ounce", "l": "liter", "litre": "liter",
    "ml": "milliliter", "millilitre": "milliliter", "h": "hour", "hr": "hour", "min": "minute", "sec": "second",
    "children": "child", "people": "person", "men": "man", "women": "woman",
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A number and what stands around it. `written`: the number as written, without separators and units."""

    value: Fraction
    percent: bool
    units: frozenset[str]
    written: str


def plain(text: str) -> str:
    """`text` with one spelling for minus signs, spaces, digits, vulgar fractions and the usual LaTeX and Markdown."""
    for sign, fraction in _VULGAR.items():
        text = re.sub(rf"(?<=\w) ?{sign}", f" {fraction}", text).replace(sign, fraction)
    text = re.sub(r"\d", lambda match: str(unicodedata.decimal(match[0])), text.translate(_PLAIN))
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def parse(text: str) -> Quantity | None:
    """The quantity that the whole `text` writes, or None if it is anything else."""
    text = re.sub(r"(?<=[0-9]) ?/ ?(?=[0-9])", "/", re.sub(r"\s+", " ", plain(text)))
    text = text.lstrip(_OUTSIDE).rstrip(_OUTSIDE + ".")
    if len(text) > LONGEST:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        found = number_in_words(text)
        if found is None or (_JOINS | _POWERS) & set(found[1]):
            return None
        parts, rest = _parts(found[1], quarters=True)
        said = Fraction(found[0], parts)
        return Quantity(said, False, _units(rest), str(said))
    value = _exact(match["number"])
    signs = [match[name].strip().lower() for name in ("sign1", "sign2") if match[name]]
    words = [word for word in re.split(r"[^A-Za-z°µ¢$€£¥₹]+", match["after"].lower()) if word]
    if value is None or len(signs) > 1 or (_JOINS | _POWERS) & set(words) or re.search(r"[+*=^<>]", match["after"]):
        return None
    negative = signs not in ([], ["+"])
    scale = Fraction(1)
    if re.match(r"M\b", match["after"]):  # 5M; 5m are metres
        scale, words = Fraction(10**6), words[1:]
    while words and words[0] in _SCALE:
        scale *= _SCALE[words.pop(0)]
    parts, words = _parts(words)
    scale /= parts
    value *= -scale if negative else scale
    written = match["number"]
    if scale != 1 or re.search(r"[x*e]", written, re.IGNORECASE):
        written = decimal_text(abs(value))
    elif "/" not in written:
        written = re.sub(r"[, ]", "", written)
    percent = match["percent"] is not None
    units = _units([(match["before"] or "").strip(), *words])
    return Quantity(value, percent, units, f"{'-' if negative else ''}{written}{'%' if percent else ''}")


def _parts(words: list[str], quarters: bool = False) -> tuple[int, list[str]]:
    """Into how many parts the first word divides a number ("thirds": 3), and the other words.

    `quarters`: so do these; behind digits they are coins as often.
    """
    word = words[0].removesuffix("s") if words else ""
    parts = 4 if quarters and word == "quarter" else _PARTS.get(word, 1)
    return parts, words[1:] if parts > 1 else words


def conflict(a: Quantity, b: Quantity) -> bool:
    """Whether both name a unit and the units share no word, such as 5 km and 5 miles."""
    return bool(a.units and b.units and not a.units & b.units)


def _exact(number: str) -> Fraction | None:
    """The value of a text that NUMBER matched; None for a date, a ratio, a bad grouping or a division by zero."""
    if match := _FRACTION.fullmatch(number):
        bottom = _integer(match["bottom"])
        return Fraction(match["whole"] or 0) + Fraction(_integer(match["top"]), bottom) if bottom else None
    if match := _SCIENTIFIC.fullmatch(number):
        base = _exact(match["base"])
        return base * Fraction(10) ** int(match["power"]) if base is not None else None
    if match := _DECIMAL.fullmatch(number):
        part = match["part"] or ""
        return _integer(match["whole"] or "0") + Fraction(int(part or 0), 10 ** len(part))
    return None


def _integer(text: str) -> int:
    return int(re.sub(r"[, ]", "", text))


def decimal_text(value: Fraction) -> str:
    """A non-negative value as a decimal where it has a finite one, else as a fraction."""
    for places in range(310):
        if value.denominator == 1 or 10**places % value.denominator == 0:
            digits = str(value.numerator * 10**places // value.denominator).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return str(value)


def _units(words: list[str]) -> frozenset[str]:
    singular = []
    for word in filter(None, words):
        word = re.sub(r"(?<=x|s)es$|(?<=ch|sh)es$|(?<=[a-rt-z])s$", "", word.lower()) if len(word) > 2 else word.lower()
        word = re.sub(r"ie$", "y", word)
        singular.append(_SAME_UNIT.get(word, word))
    return frozenset(singular) - _VAGUE
