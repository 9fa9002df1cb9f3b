"""Units of quantities, in one normalised spelling."""

import re
from collections.abc import Iterable

_VAGUE = {"of", "the", "a", "an", "in", "per", "total", "left", "more", "remaining", "each", "altogether", "now",
    "is", "are", "for", "his", "her", "their", "its", "all", "on", "at", "by", "with", "from", "these", "those", "that",
    "this", "other", "remain", "ago", "away", "old", "extra", "additional", "whole", "point", "unit", "time", "again",
    "overall", "so", "then", "still", "only", "together", "have", "has", "was", "were", "will", "be", "both",
    "fewer", "less", "than", "which", "what", "who", "he", "she", "they",
    "st", "nd", "rd", "th", "it", "we", "you", "i"}  # fmt: skip
_SAME = {
    "$": "dollar", "us$": "dollar", "usd": "dollar", "buck": "dollar", "€": "euro", "eur": "euro", "£": "pound",
    "gbp": "pound", "¥": "yen", "₹": "rupee", "rs": "rupee", "inr": "rupee", "¢": "cent", "km": "kilometer",
    "kilometre": "kilometer", "m": "meter", "metre": "meter", "cm": "centimeter", "centimetre": "centimeter",
    "mm": "millimeter", "millimetre": "millimeter", "ft": "foot", "feet": "foot", "inche": "inch", "yd": "yard",
    "mi": "mile", "kg": "kilogram", "kilo": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "oz": "ounce",
    "l": "liter", "litre": "liter", "ml": "milliliter", "millilitre": "milliliter", "h": "hour", "hr": "hour",
    "min": "minute", "sec": "second", "s": "second", "wk": "week", "yr": "year", "mo": "month", "gal": "gallon",
    "children": "child", "kid": "child", "people": "person", "men": "man", "women": "woman", "°c": "celsius",
    "°f": "fahrenheit", "°": "degree", "tbsp": "tablespoon", "tsp": "teaspoon", "mph": "mile", "kph": "kilometer",
    "sq": "square", "penny": "cent", "pence": "penny", "loave": "loaf", "knive": "knife", "leave": "leaf",
    "shelve": "shelf", "geese": "goose", "mice": "mouse", "teeth": "tooth",
}  # fmt: skip


def units(words: Iterable[str]) -> frozenset[str]:
    """The units among `words`, lower case, in the singular and without abbreviations ("km" is "kilometer")."""
    singular = []
    for word in filter(None, words):
        word = word.lower()
        if len(word) > 2 and word not in _SAME:
            word = re.sub(r"(?<=x|s)es$|(?<=ch|sh)es$|(?<=[a-rt-z])s$", "", word)
            word = re.sub(r"ie$", "y", word)
        singular.append(_SAME.get(word, word))
    return frozenset(singular) - _VAGUE
