"""Seeded multi-step arithmetic word problems.

Numbers stay small (every value an integer in 2..40, operands 2..9), so that a model of a few million parameters
can learn the arithmetic, and what is left to learn is which operation a sentence means, and in which order.
Two families: a *story* (one person's things over time) and a *comparison* (a chain of people, sentences in any
order, so that the order of the text is not the order of the work).
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kpod.config import WordProblems
from kpod.errors import ConfigError
from kpod.questions import wordings as w
from kpod.questions.wordings import NAMES, THINGS, Wording
from kpod.questions.workout import COMPUTE, WorkedProblem, work_out

__all__ = ["WorkedProblem", "easy", "generate", "sums", "work_out"]

LARGEST = 40
SMALL = 12  # most that is multiplied, and that the smaller of two added amounts is
HIGHEST_START = 20  # what a generated problem starts from, at most
ASKING = ("How ", "What ", "Find ")
Pair = tuple[str, str]  # (text, answer)


def generate(config: WordProblems) -> list[dict[str, object]]:
    """Rows of schemas.QUESTIONS: `wordproblems` (three splits), then `wordproblems-longer` (split test).

    No text occurs twice. Each split draws from its own stream of (seed, set, split), so a larger training split
    neither changes the others nor its own first problems. Raises ConfigError if there are not so many problems.
    """
    usual, longer = (config.min_steps, config.max_steps), (config.max_steps + 1, config.longer_steps)
    parts = [
        ("wordproblems", "train", config.train, usual),
        ("wordproblems", "validation", config.validation, usual),
        ("wordproblems", "test", config.test, usual),
        ("wordproblems-longer", "test", config.longer, longer),
    ]
    seen: set[str] = set()
    rows: list[list[dict[str, object]]] = []
    for dataset, split, count, (fewest, most) in reversed(parts):  # where texts collide, training gives way
        rng = random.Random(f"{config.seed}/{dataset}/{split}")
        draw = partial(_problem, rng, fewest, most)
        rows.append(
            [
                {
                    "id": f"{dataset}-{split}-{i:05d}",
                    "dataset": dataset,
                    "split": split,
                    "question": text,
                    "answer": answer,
                    "choices": None,
                }
                for i, (text, answer) in enumerate(_distinct(draw, count, seen))
            ]
        )
    return [row for part in reversed(rows) for row in part]


def easy(count: int, seed: int) -> list[tuple[str, str, str]]:
    """`count` different (question, rationale, answer) of one or two steps.

    Their closing question begins with "So", as no generated problem's does, so none of them equals a generated one.
    They also start high: pretraining must meet the sums that longer chains lead to.
    """
    rng = random.Random(f"{seed}/easy")
    result = []
    for text, answer in _distinct(lambda: _easy(rng), count, set()):
        worked = work_out(text)
        if worked is None:
            raise RuntimeError(f"cannot read back what was written: {text}")
        result.append((text, " ".join(worked.steps), answer))
    return result


def sums(count: int, seed: int) -> list[str]:
    """`count` equations such as "3 + 4 = 7", the arithmetic that the problems need, every kind as likely."""
    rng = random.Random(f"{seed}/sums")
    result = []
    for _ in range(count):
        value = rng.randint(2, LARGEST)
        choices = operations(value)
        if value <= LARGEST - 2:
            choices["both"] = range(2, min(SMALL, LARGEST - value) + 1)
        kind = rng.choice(list(choices))
        op, a, b = "+" if kind == "both" else kind, value, rng.choice(choices[kind])
        if kind == "both" and rng.random() < 0.5:
            a, b = b, a
        result.append(f"{a} {op} {b} = {COMPUTE[op](a, b)}")
    return result


def _distinct(draw: Callable[[], Pair], count: int, seen: set[str]) -> Iterator[Pair]:
    """Draw `count` problems whose text is not in `seen`, and remember them there."""
    for _ in range(count):
        for _ in range(1000):
            text, answer = draw()
            if text not in seen:
                break
        else:
            raise ConfigError("questions.sources: no more different word problems of so few steps: ask for fewer")
        seen.add(text)
        yield text, answer


def _easy(rng: random.Random) -> Pair:
    text, answer = _problem(rng, 1, 2, highest=rng.choice((HIGHEST_START, LARGEST - 2)))
    question = next(part for part in re.findall(r"[^.?]+[.?]", text) if part.strip().startswith(ASKING)).strip()
    return text.replace(question, f"{w.EASY}{question[0].lower()}{question[1:]}"), answer


def _problem(rng: random.Random, fewest: int, most: int, highest: int = HIGHEST_START) -> Pair:
    steps = rng.randint(fewest, most)
    if steps <= len(NAMES) - 1 and rng.random() < 0.4:
        return _comparison(rng, steps, highest)
    return _story(rng, steps, highest)


def operations(value: int) -> dict[str, Sequence[int]]:
    """The operations that keep `value` an integer in 2..LARGEST, each with its possible operands."""
    found: dict[str, Sequence[int]] = {
        "+": range(2, min(9, LARGEST - value) + 1),
        "-": range(2, min(9, value - 2) + 1),
        "x": range(2, min(4, LARGEST // value) + 1) if value <= SMALL else (),
        "/": [n for n in range(2, 6) if value % n == 0 and value // n >= 2],
    }
    return {op: operands for op, operands in found.items() if operands}


def _choices(value: int, wordings: Sequence[Wording]) -> dict[str, Sequence[int]]:
    """The operations that `wordings` can tell of `value`."""
    told = {wording.op for wording in wordings}
    return {op: operands for op, operands in operations(value).items() if op in told}


def _step(rng: random.Random, value: int, wordings: Sequence[Wording]) -> tuple[int, Wording, int]:
    """One operation: the new value, its wording and its operand."""
    choices = _choices(value, wordings)
    op = rng.choice(list(choices))  # first the operation, so that every kind is as likely
    operand = rng.choice(choices[op])
    wording = rng.choice([x for x in wordings if x.op == op and x.number in (None, operand)])
    return COMPUTE[op](value, operand), wording, operand


def _story(rng: random.Random, steps: int, highest: int) -> Pair:
    """One person's things change `steps` times; the question stands at the end or, now and then, at the start."""
    name, things = rng.choice(list(NAMES)), rng.choice(THINGS)
    told: list[str] = []

    def tell(wording: Wording, **numbers: int) -> None:
        who = name if rng.random() < 0.5 else NAMES[name].capitalize()
        text = wording.text.format(who=who, name=name, things=things, **numbers)
        if told and rng.random() < 0.25:
            text = rng.choice(w.CONNECTIVES) + (text if text.startswith(name) else text[0].lower() + text[1:])
        told.append(text)

    if steps > 1 and rng.random() < 0.3:
        n = rng.randint(2, 5)
        m = rng.randint(2, min(9, LARGEST // n))
        tell(rng.choice(w.START_PRODUCT), n=n, m=m)
        value, steps = n * m, steps - 1
    else:
        value = rng.randint(2, highest)
        tell(rng.choice(w.START), n=value)
    questions: Sequence[Wording] = w.STORY_QUESTION
    closing = steps > 1 and rng.random() < 0.3
    for left in reversed(range(steps)):
        closes = closing and not left and _choices(value, w.CLOSING)
        value, wording, operand = _step(rng, value, w.CLOSING if closes else w.EVENTS)
        tell(wording, n=operand)
        if closes:
            questions = w.WORTH_QUESTION if wording in w.WORTH else w.PACKS_QUESTION
    asked = rng.choice(questions).text.format(name=name, things=things)
    return " ".join([asked, *told] if rng.random() < 0.2 else [*told, asked]), str(value)


def _comparison(rng: random.Random, steps: int, highest: int) -> Pair:
    """Each person's things follow from another's; the sentences stand in order, in reverse, or in any order."""
    things = rng.choice(THINGS)
    people = rng.sample(list(NAMES), steps + 1)
    values = [rng.randint(2, highest)]
    told = [rng.choice(w.COMPARISON_START).text.format(name=people[0], things=things, n=values[0])]
    asked = rng.choice(w.ONE_QUESTION).text.format(name=people[steps], things=things)
    together = steps > 1 and rng.random() < 0.3
    for i in range(1, steps + 1):
        small = [k for k in range(i - 1) if values[k] <= SMALL and values[k] + values[-1] <= LARGEST]
        if together and i == steps and small:
            other = rng.choice(small)
            pair = rng.sample([people[other], people[i - 1]], 2)
            asked = rng.choice(w.BOTH_QUESTION).text.format(name=pair[0], other=pair[1], things=things)
            values.append(values[other] + values[-1])
        else:
            value, wording, operand = _step(rng, values[-1], w.COMPARISONS)
            told.append(wording.text.format(name=people[i], other=people[i - 1], things=things, n=operand))
            values.append(value)
    order = rng.choice(["forward", "forward", "reverse", "any"])
    if order == "reverse":
        told.reverse()
    elif order == "any":
        rng.shuffle(told)
    return " ".join([*told, asked]), str(values[-1])
