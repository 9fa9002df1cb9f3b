"""The sentences of the word problems, as templates that both write a sentence and parse it.

A wording is a text with the fields {who} (a name or a pronoun), {name}, {other}, {n}, {m} and {things}.
"""

import re
from dataclasses import dataclass, field

NAMES = {
    "Tom": "he", "Anna": "she", "Ben": "he", "Clara": "she", "David": "he", "Ella": "she", "Frank": "he",
    "Grace": "she", "Henry": "he", "Ivy": "she", "Jack": "he", "Kate": "she", "Leo": "he", "Mia": "she",
    "Noah": "he", "Olga": "she", "Paul": "he", "Rosa": "she", "Sam": "he", "Tina": "she", "Victor": "he",
    "Wendy": "she", "Yusuf": "he", "Zoe": "she",
}  # fmt: skip
THINGS = (
    "apples", "marbles", "stickers", "pencils", "shells", "cards", "stamps", "cookies", "beads", "coins",
    "buttons", "stones", "balloons", "books", "plums", "ribbons", "badges", "candles", "flowers", "keys",
)  # fmt: skip
CONNECTIVES = ("Then ", "Later ", "After that ", "Next ")

_FIELDS = {
    "who": r"(?P<who>[A-Za-z]+)",
    "name": r"(?P<name>[A-Z][a-z]+)",
    "other": r"(?P<other>[A-Z][a-z]+)",
    "n": r"(?P<n>\d{1,3})",
    "m": r"(?P<m>\d{1,3})",
    "things": r"(?P<things>[a-z]+)",
}


@dataclass(frozen=True)
class Wording:
    """The template of one sentence."""

    text: str
    op: str = ""  # the operation that it describes: + - x /
    number: int | None = None  # its operand, if the words fix it ("half", "twice")
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = re.split(r"\{(\w+)\}", self.text)
        regex = "".join(_FIELDS[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
        object.__setattr__(self, "pattern", re.compile(regex))

    def read(self, sentence: str) -> dict[str, str] | None:
        """The values of the fields if `sentence` has this wording, else None."""
        match = self.pattern.fullmatch(sentence)
        return match.groupdict() if match else None


# Of the family `stories`.
SHORT_START = (
    Wording("{name} has {n} {things}."),
    Wording("{name} starts with {n} {things}."),
    Wording("At first {name} owns {n} {things}."),
)
SHORT_EVENTS = (
    Wording("{who} buys {n} more.", "+"),
    Wording("{who} finds {n}.", "+"),
    Wording("A friend brings {n}.", "+"),
    Wording("{who} loses {n}.", "-"),
    Wording("{who} sells {n}.", "-"),
    Wording("{who} gives away {n}.", "-"),
    Wording("{who} makes it {n} times as many.", "x"),
    Wording("The number grows {n} times.", "x"),
)
SHORT_QUESTION = (
    Wording("How many {things} does {name} have now?"),
    Wording("How many {things} are there in the end?"),
)
# At the end of an event; they change nothing.
DETAILS = (" at the market", " in the garden", " near the river", " after lunch", " in the morning", " on Sunday")

# Of the family `mixed`.
START = (
    Wording("{name} has {n} {things}."),
    Wording("{name} starts with {n} {things}."),
    Wording("In the morning {name} counts {n} {things}."),
    Wording("{name} owns {n} {things}."),
)
START_PRODUCT = (
    Wording("{name} has {n} boxes with {m} {things} in each."),
    Wording("{name} fills {n} bags with {m} {things} each."),
    Wording("There are {n} shelves with {m} {things} each, and all belong to {name}."),
)
EVENTS = (
    Wording("{who} gets {n} more {things}.", "+"),
    Wording("{who} buys {n} more {things}.", "+"),
    Wording("{who} finds {n} {things} on the way home.", "+"),
    Wording("{who} is given {n} {things} by a friend.", "+"),
    Wording("{who} gives away {n} {things}.", "-"),
    Wording("{who} loses {n} of the {things}.", "-"),
    Wording("{who} hands {n} {things} to a neighbour.", "-"),
    Wording("{who} leaves {n} {things} at school.", "-"),
    Wording("{who} collects until there are {n} times as many {things}.", "x"),
    Wording("{who} wins enough to have {n} times as many {things}.", "x"),
    Wording("{who} doubles the number of {things}.", "x", 2),
    Wording("{who} splits the {things} into {n} equal parts and keeps one part.", "/"),
    Wording("{who} shares the {things} equally with others, so that each of {n} people has the same.", "/"),
    Wording("{who} gives half of the {things} to charity.", "/", 2),
)
STORY_QUESTION = (
    Wording("How many {things} does {name} have at the end?"),
    Wording("What number of {things} does {name} have after all this?"),
    Wording("Find how many {things} {name} has in the end."),
)
WORTH = (
    Wording("{who} sells all the {things} for {n} dollars each.", "x"),
    Wording("Someone pays {name} {n} dollars for each of the {things}.", "x"),
)
WORTH_QUESTION = (
    Wording("How many dollars does {name} get for the {things}?"),
    Wording("Find how many dollars {name} makes with the {things}."),
)
PACKS = (
    Wording("{who} packs all the {things} in boxes of {n}.", "/"),
    Wording("{who} ties the {things} in bundles of {n}.", "/"),
)
CLOSING = WORTH + PACKS
PACKS_QUESTION = (
    Wording("How many groups of {things} does {name} make?"),
    Wording("Find how many equal groups of {things} {name} makes."),
)
COMPARISON_START = (START[0], START[3])
COMPARISONS = (
    Wording("{name} has {n} more {things} than {other}.", "+"),
    Wording("{name} owns {n} {things} more than {other} does.", "+"),
    Wording("{name} has {n} fewer {things} than {other}.", "-"),
    Wording("{name} is {n} {things} short of what {other} has.", "-"),
    Wording("{name} has {n} times as many {things} as {other}.", "x"),
    Wording("{name} has twice as many {things} as {other}.", "x", 2),
    Wording("Split into {n} equal parts, the {things} of {other} give what {name} has.", "/"),
    Wording("{name} has half as many {things} as {other}.", "/", 2),
)
ONE_QUESTION = (
    Wording("How many {things} does {name} have?"),
    Wording("Find the number of {things} that {name} has."),
)
BOTH_QUESTION = (
    Wording("How many {things} do {name} and {other} have together?"),
    Wording("Find how many {things} {name} and {other} have in all."),
)
