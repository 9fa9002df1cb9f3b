"""Times of day: "5:30 p.m.", "5 PM", "17:30"."""

import re
from dataclasses import dataclass

# After a number without minutes, the points or the capitals distinguish "5 a.m." from "5 am I".
TIME = r"(?<![\d.,:/])(?:[01]?\d|2[0-3])(?::[0-5]\d(?::[0-5]\d)?)? ?(?:[aApP]\. ?[mM]\b\.?|[aApP][mM]\b)"
_TIME = re.compile(r"(?:at |about )?(\d{1,2})(?::(\d\d)(?::(\d\d))?)?(?: ?([ap])\. ?m\.?| ?([ap])m)?\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Time:
    """A time of day; `half` is "a" (a.m.), "p" (p.m.), or None where the text does not say."""

    hour: int  # 0 to 11 where `half` is given or the hour leaves it open, else 13 to 23
    minute: int
    second: int
    half: str | None


def time_of_day(text: str) -> Time | None:
    """Parse a whole text as a time of day; None if it is anything else, a bare number included."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    half = (match[4] or match[5] or "").lower() or None
    if hour > 23 or minute > 59 or second > 59 or (half is None and match[2] is None):
        return None
    if half is None and (hour > 12 or hour == 0):
        hour, half = hour % 12, "p" if hour > 12 else "a"
    return Time(hour % 12, minute, second, half) if hour <= 12 else None


def same_time(a: Time, b: Time) -> bool:
    """Whether two times are the same; one without a.m. or p.m. equals both."""
    return (a.hour, a.minute, a.second) == (b.hour, b.minute, b.second) and (
        a.half == b.half or None in (a.half, b.half)
    )
