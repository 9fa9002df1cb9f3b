"""The headline of a run, which terminal, report page, MLflow and Prefect show."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kpod.evaluate.accuracy import Accuracy
from kpod.report.data import Comparison
from kpod.report.words import METHODS

BASE, PLAIN = "base", "scotd"  # the student before distillation, and plain distillation
ONE = "scotd-1"  # plain distillation on one rationale a question


@dataclass(frozen=True)
class Headline:
    """The sentence and its numbers, all of one set of questions; shares and differences are in [-1, 1]."""

    sentence: str
    method: str  # the method that is reported: the last one that distils
    dataset: str
    split: str
    questions: int
    accuracy: float
    low: float  # 95% interval of `accuracy`
    high: float
    before: float | None  # accuracy of the student before distillation, if it was evaluated
    against: str | None  # the method that it is compared with; None if no other was evaluated
    against_accuracy: float | None
    difference: float | None  # accuracy - against_accuracy, on the same questions
    difference_low: float | None  # 95% interval of `difference` (paired)
    difference_high: float | None
    rationales: str | None = None  # a second sentence: the gain of several rationales a question

    @property
    def where(self) -> str:
        """The questions that were asked: `wordproblems test, 800 questions`."""
        return f"{self.dataset} {self.split}, {self.questions:,} question{'s' if self.questions != 1 else ''}"

    def as_dict(self) -> dict[str, Any]:
        """All fields and `where`, for JSON."""
        return {**asdict(self), "where": self.where}


def compared(methods: Sequence[str]) -> tuple[str, str] | None:
    """The two methods that the headline compares, the reported one second; None if there is only one method.

    The reported method is the last one that distils. It is compared with plain distillation, else with the last other
    method that distils, else with the student before distillation.
    """
    if len(methods) < 2:
        return None
    method = reported(methods)
    others = [name for name in methods if name != method]
    distilled = [name for name in others if name != BASE]
    return (PLAIN if PLAIN in distilled else (distilled or others)[-1]), method


def reported(methods: Sequence[str]) -> str:
    """The method that a report is about: the last one that distils, else the last."""
    return ([name for name in methods if name != BASE] or list(methods))[-1]


def headline(accuracy: Sequence[Accuracy], comparisons: Sequence[Comparison]) -> Headline | None:
    """The headline: the reported method on its first set of questions, compared as `compared` says.

    `accuracy` and `comparisons` are those of `ReportData`. None if nothing was evaluated.
    """
    methods = list(dict.fromkeys(row.method for row in accuracy))
    if not methods:
        return None
    method = reported(methods)
    own = next(row for row in accuracy if row.method == method)
    of_set = {row.method: row for row in accuracy if (row.dataset, row.split) == (own.dataset, own.split)}
    pair = compared(list(of_set))
    before = of_set.get(BASE) if method != BASE else None
    against = of_set[pair[0]] if pair else None
    identity = (against.method if against else None, method, own.dataset, own.split)
    paired = next((row for row in comparisons if (row.a, row.b, row.dataset, row.split) == identity), None)
    return Headline(
        sentence=_sentence(own, against, before, paired),
        method=method,
        dataset=own.dataset,
        split=own.split,
        questions=own.questions,
        accuracy=own.accuracy,
        low=own.low,
        high=own.high,
        before=before.accuracy if before else None,
        against=against.method if against else None,
        against_accuracy=against.accuracy if against else None,
        difference=paired.difference if paired else None,
        difference_low=paired.low if paired else None,
        difference_high=paired.high if paired else None,
        rationales=_rationales(of_set, comparisons, own),
    )


def _rationales(of_set: Mapping[str, Accuracy], comparisons: Sequence[Comparison], own: Accuracy) -> str | None:
    """The gain of plain distillation from several rationales a question; None unless it was also trained on one."""
    pair = (ONE, PLAIN, own.dataset, own.split)
    paired = next((row for row in comparisons if (row.a, row.b, row.dataset, row.split) == pair), None)
    if paired is None:
        return None
    several, single = of_set[PLAIN].accuracy, of_set[ONE].accuracy
    sentence = (
        f"plain distillation on several rationales a question: {100 * several:.1f}% against {100 * single:.1f}% on one;"
        f" {100 * paired.difference:+.1f} points, 95% {_plain(paired.low, 1)} to {_plain(paired.high, 1)}"
    )
    return sentence if paired.low > 0 or paired.high < 0 else f"{sentence}: no clear difference"


def _sentence(own: Accuracy, against: Accuracy | None, before: Accuracy | None, paired: Comparison | None) -> str:
    digits = _digits(own, against, paired)
    share = f"{100 * own.accuracy:.{digits}f}%"
    if against is None:
        return f"{_name(own.method)} {share}, 95% {100 * own.low:.{digits}f} to {100 * own.high:.{digits}f}"
    other = f"{100 * against.accuracy:.{digits}f}%"
    after = "" if before is None or against is before else f" and {100 * before.accuracy:.{digits}f}% before"
    if paired is None or paired.low > 0:
        of = " before" if against is before else f" for {_name(against.method)}"
        sentence = f"{_name(own.method)} {share} against {other}{of}{after}"
    else:  # a reader who stops after the first words has the truth
        verdict = "behind" if paired.high < 0 else "level with"
        sentence = f"{_name(own.method)} is {verdict} {_name(against.method)}: {share} against {other}{after}"
    if paired is None:
        return sentence
    points = f"{100 * paired.difference:+.{digits}f}"
    unit = "point" if points in ("+1", "-1") else "points"
    return f"{sentence}; {points} {unit}, 95% {_plain(paired.low, digits)} to {_plain(paired.high, digits)}"


def _digits(own: Accuracy, against: Accuracy | None, paired: Comparison | None) -> int:
    """Decimals of percentages: 0, or 1 where rounding would falsify the difference or its sign."""
    if against is None or paired is None:
        return 0
    whole = round(100 * own.accuracy) - round(100 * against.accuracy)
    ends = [end for end in (paired.low, paired.high) if end and not round(100 * end)]
    clear = paired.low > 0 or paired.high < 0
    return 0 if round(100 * paired.difference) == whole and not (clear and ends) else 1


def _name(method: str) -> str:
    return METHODS[method] if method in (BASE, PLAIN) else method


def _plain(difference: float, digits: int) -> str:
    """Percentage points without a minus in front of a zero."""
    return f"{round(100 * difference, digits) + 0.0:.{digits}f}"
