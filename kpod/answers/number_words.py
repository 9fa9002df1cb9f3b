"""Numbers written in English words."""

import re

SCALE = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: i for i, word in enumerate(_UNITS.split())} | {
    word: 10 * i for i, word in enumerate(_TENS.split(), start=2)
}


def number_in_words(text: str) -> tuple[int, list[str]] | None:
    """The number that `text` begins with, and the words after it: "twenty-one apples" gives (21, ["apples"]).

    None if it does not begin with one, or if another number follows ("five six", "five or six").
    """
    words = re.findall(r"[a-z]+|[^a-z\s-]+", text.lower())
    negative = words[:1] in (["minus"], ["negative"])
    if negative or (words[:1] == ["a"] and words[1:2] and words[1] in SCALE):
        words = words[1:]
    total = current = used = 0
    last = ""
    for word in words:
        if word in _SMALL:
            if last in _SMALL and not (_SMALL[last] >= 20 and 1 <= _SMALL[word] <= 9):
                return None
            current += _SMALL[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in SCALE:
            total, current = total + max(current, 1) * SCALE[word], 0
        elif word != "and" or last not in SCALE:
            break
        last, used = word, used + 1
    rest = words[used:]
    if last in ("", "and") or any(word in _SMALL or not word.isalpha() for word in rest):
        return None
    value = total + current
    return (-value if negative else value), rest
