"""Whether a full stop after a word ends a sentence or marks an abbreviation."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Something always follows these.
_NEVER = _words(
    "feat mr mrs ms mx dr prof rev gen sgt capt lt col hon st messrs vs e.g eg i.e ie cf viz al approx ca resp "
    "incl excl z.b bzw"
)
# These stand before a number; elsewhere they are words, or the end of one.
_BEFORE_NUMBER = _words("no nos nr p pp vol ch sec art ex chap para ver fig figs eq eqs eqn eqns ref refs")
# These may close a sentence: they do if a capital follows.
_MAYBE = _words(
    "etc a.m p.m am pm ft yd yds lb lbs oz gal gals qt qts pt pts tsp tsps tbsp tbsps hr hrs min mins sec secs wk wks "
    "mo mos yr yrs sq cu km cm mm kg avg est max dept inc ltd co corp jr sr ave blvd rd ph.d misc amt qty num diff tot "
    "prod jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri"
)
# Words of which the shortened form is known by the number before it: 6 in. tall.
_UNIT_WORDS = frozenset(["in", "mi"])
# What a number of these may go on in: 5 ft. 6 in., but 12 kg. 3 bags are two sentences.
_SMALLER = {
    unit: re.compile(rf"[^\S\n]*\d[\d.,/]*[^\S\n-]*-?(?:{parts})\b", re.IGNORECASE)
    for units, parts in (
        ("mi", r"yds?|yards?|ft|feet|foot"),
        ("yd yds", r"ft|feet|foot|in|inch(?:es)?"),
        ("ft", r"in|inch(?:es)?"),
        ("lb lbs", r"oz|ounces?"),
        ("gal gals", r"qts?|quarts?|pts?|pints?|cups?|oz|ounces?"),
        ("qt qts", r"pts?|pints?|cups?|oz|ounces?"),
        ("pt pts", r"cups?|oz|ounces?"),
        ("tbsp tbsps", r"tsps?|teaspoons?"),
        ("yr yrs", r"mos?|months?|wks?|weeks?|days?"),
        ("mo mos", r"wks?|weeks?|days?"),
        ("wk wks", r"days?"),
        ("hr hrs", r"mins?|minutes?|secs?|seconds?"),
        ("min mins", r"s|secs?|seconds?"),
        ("kg", r"g|grams?"),
        ("km", r"m|met(?:er|re)s?"),
        ("cm", r"mm"),
        ("oz in tsp tsps sec secs mm a.m p.m am pm etc", r"(?!)"),
    )
    for unit in units.split()
}
_ARTICLES = _words("a an each every that the this what which")
_SHORT_UNITS = frozenset("mglhs")
_CLOCK = _words("a.m p.m am pm")
_MARKER_NEXT = re.compile(r"[^\S\n]*[*_(]*(?:[a-z]|[ivx]{2,5})[*_]*[.)]")
_SOMETIMES = _BEFORE_NUMBER | _MAYBE | _UNIT_WORDS
_NEXT = re.compile(r"[^\S\n\r\v\f\x85\u2028\u2029]*[\"'“‘«¿¡(\[{*_`$]*(?P<word>[^\W\d_]+)?(?P<digit>\d)?")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_STARTERS = _words(
    "a after all also an and another are as at because before but by do does each finally first for from given he "
    "hence her here his how however i if in is it its last let lastly my next no now of on once one only our she "
    "similarly since so than that the their then there therefore these they this those thus to total twice under using "
    "we what when where which while who why with yes you your"
)
# A capital behind one of these names an option or a point, not a person.
_LABELS = _words(
    "answer box case choice class column equation figure group letter line option part plan point row step team "
    "variable vitamin"
)


def next_word(text: str, at: int) -> tuple[str, bool]:
    """The word that follows `at` on the same line, "" if none, and whether a number follows instead."""
    match = _NEXT.match(text, at)
    return (match["word"] or "", match["digit"] is not None) if match else ("", False)


def ends_step(before: str, text: str, at: int) -> bool:
    """Whether the full stop after `before` (the last characters of the step so far) ends the step.

    `text[at:]` is the text after the stop.
    """
    word = before.rsplit(None, 1)[-1].lstrip("([{\"'“‘«*_`—–-/$") if before and not before[-1].isspace() else ""
    small = word.lower()
    if small in _NEVER:
        return False
    if small not in _SOMETIMES and len(word) != 1 and "." not in word:
        return True
    following, digit = next_word(text, at)
    words = before.split()
    measured = len(words) > 1 and words[-2][-1:].isdigit()
    if small in _BEFORE_NUMBER and not (measured and small in _SMALLER) and (digit or following == "of"):
        # No. 5, no. of boxes
        return False
    if small in _BEFORE_NUMBER and following[:1].islower() and len(words) > 1 and words[-2].lower() in _ARTICLES:
        return False  # The no. is 5
    if len(word) == 1 and word.isupper():
        return not (following and _initial(words, following))
    if small in _SHORT_UNITS and measured and following[:1].islower():
        return False  # 5 m. long
    if small in _MAYBE or (small in _UNIT_WORDS and measured):
        if digit:
            if small in _CLOCK and len(words) < 4:  # At 9 p.m. 3 people leave.
                return False
            return small in _SMALLER and (measured or small == "etc") and not _SMALLER[small].match(text, at)
        return not following[:1].islower() or (measured and _MARKER_NEXT.match(text, at) is not None)
    if _DOTTED.fullmatch(word):
        return (following[:1].isupper() and following.lower() in _STARTERS) or not (following or digit)
    return True


def _initial(words: list[str], following: str) -> bool:
    """Whether the capital that ends `words` shortens a name: a name, a title, an initial or nothing stands before."""
    if len(words) < 2:
        return True
    previous = words[-2]
    if previous.endswith("."):
        return True
    return previous[0].isupper() and previous.lower() not in _LABELS and following.lower() not in _STARTERS
