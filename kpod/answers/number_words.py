"""Numbers written in English words."""

import re
from fractions import Fraction

SCALE = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "lac": 10**5, "crore": 10**7, "dozen": 12, "score": 20, "gross": 144}  # fmt: skip
PARTS = {"half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "twelfth": 12, "sixteenth": 16, "twentieth": 20, "hundredth": 100,
    "thousandth": 1000}  # fmt: skip
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: i for i, word in enumerate(_UNITS.split())} | {
    word: 10 * i for i, word in enumerate(_TENS.split(), start=2)
}
_QUARTERS = {**PARTS, "quarter": 4}
_PLURAL = {"lakhs": "lakh", "lacs": "lac", "crores": "crore", "dozens": "dozen", "halves": "half"}
_WORD = re.compile(r"[a-z]+|[^a-z\s-]+")
LONGEST = 400  # characters of a number in words, and of what stands behind it


def number_in_words(text: str) -> tuple[Fraction, list[str]] | None:
    """Parse the number in English words at the beginning of `text`: "twenty-one apples" gives (21, ["apples"]).

    Fractions ("two thirds", "half a cup"), mixed numbers ("three and a half") and decimals ("three point five") count.
    None if there is none, or if another number follows ("five six", "five or six").
    """
    if len(text) > LONGEST:
        return None
    words = [_PLURAL.get(word, word) for word in _WORD.findall(text.lower())]
    negative = words[:1] in (["minus"], ["negative"])
    words = words[negative:]
    value, rest = _fraction(words) or _cardinal(words) or (None, [])
    if value is None:
        return None
    if rest[:1] == ["point"] and (decimals := _decimals(rest[1:])):
        value, rest = value + decimals[0], decimals[1]
    elif rest[:1] == ["and"] and (part := _fraction(rest[1:])):
        value, rest = value + part[0], part[1]
    while rest and rest[0] in SCALE:  # one and a half million, half a dozen
        value, rest = value * SCALE[rest[0]], rest[1:]
    if rest[:1] == ["and"] or any(word in SMALL or not word.isalpha() for word in rest):
        return None
    return (-value if negative else value), rest


def _fraction(words: list[str]) -> tuple[Fraction, list[str]] | None:
    """ "two thirds", "a half", "half a cup", "three quarters"."""
    if words[:1] == ["half"]:
        return Fraction(1, 2), words[2 if words[1:2] in (["a"], ["an"], ["of"]) else 1 :]
    top = Fraction(1) if words[:1] in (["a"], ["an"]) else Fraction(SMALL.get(words[0], 0) if words else 0)
    if top and len(words) > 1 and (parts := _QUARTERS.get(words[1].removesuffix("s"), 0)):
        return top / parts, words[3 if words[2:3] in (["a"], ["an"]) else 2 :]
    return None


def _decimals(words: list[str]) -> tuple[Fraction, list[str]] | None:
    """ "five", "one four": the digits behind the point."""
    digits = ""
    while len(digits) < len(words) and SMALL.get(words[len(digits)], 10) < 10:
        digits += str(SMALL[words[len(digits)]])
    return (Fraction(int(digits), 10 ** len(digits)), words[len(digits) :]) if digits else None


def _cardinal(words: list[str]) -> tuple[Fraction, list[str]] | None:
    """ "two thousand and five", "a dozen"."""
    used = total = current = 0
    if words[:1] in (["a"], ["an"]) and words[1:2] and words[1] in SCALE.keys() - {"score", "gross"}:
        used = current = 1
    last = ""
    for word in words[used:]:
        if word in SMALL:
            if last in SMALL and not (SMALL[last] >= 20 and 1 <= SMALL[word] <= 9):
                return None
            current += SMALL[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in SCALE and (current or (not last and SCALE[word] >= 1000)):
            total, current = total + max(current, 1) * SCALE[word], 0
        elif word != "and" or last not in SCALE:
            break
        last, used = word, used + 1
    if last == "and":  # "two hundred and a half" goes on with a fraction
        used -= 1
    return (Fraction(total + current), words[used:]) if last else None
