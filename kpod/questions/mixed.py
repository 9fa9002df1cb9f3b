"""Word problems of the family `mixed`: wordings of several kinds, closing sentences, and comparisons.

A *story* is about one person's things over time; a *comparison* is a chain of people whose sentences stand in any
order, so that the order of the text is not the order of the work.
"""

import random
from collections.abc import Sequence

from kpod.questions import wordings as w
from kpod.questions.arithmetic import LARGEST, SMALL, operations, step
from kpod.questions.wordings import NAMES, THINGS, Wording

HIGHEST_START = 20


def mixed(rng: random.Random, fewest: int, most: int, highest_start: int = HIGHEST_START) -> tuple[str, str]:
    """Draw (question, answer) with `fewest` to `most` operations and a first value of 2 to `highest_start`."""
    steps = rng.randint(fewest, most)
    if steps <= len(NAMES) - 1 and rng.random() < 0.4:
        return _comparison(rng, steps, highest_start)
    return _story(rng, steps, highest_start)


def _story(rng: random.Random, steps: int, highest_start: int) -> tuple[str, str]:
    """One person's things change `steps` times; the question stands at the end or, now and then, at the start."""
    name, things = rng.choice(list(NAMES)), rng.choice(THINGS)
    sentences: list[str] = []

    def add(wording: Wording, **numbers: int) -> None:
        who = name if rng.random() < 0.5 else NAMES[name].capitalize()
        text = wording.text.format(who=who, name=name, things=things, **numbers)
        if sentences and rng.random() < 0.25:
            text = rng.choice(w.CONNECTIVES) + (text if text.startswith(name) else text[0].lower() + text[1:])
        sentences.append(text)

    if steps > 1 and rng.random() < 0.3:
        n = rng.randint(2, 5)
        m = rng.randint(2, min(9, LARGEST // n))
        add(rng.choice(w.START_PRODUCT), n=n, m=m)
        value, steps = n * m, steps - 1
    else:
        value = rng.randint(2, highest_start)
        add(rng.choice(w.START), n=value)
    questions: Sequence[Wording] = w.STORY_QUESTION
    closing = steps > 1 and rng.random() < 0.3
    for left in reversed(range(steps)):
        closes = closing and not left and operations(value, w.CLOSING)
        value, wording, operand = step(rng, value, w.CLOSING if closes else w.EVENTS)
        add(wording, n=operand)
        if closes:
            questions = w.WORTH_QUESTION if wording in w.WORTH else w.PACKS_QUESTION
    question = rng.choice(questions).text.format(name=name, things=things)
    return " ".join([question, *sentences] if rng.random() < 0.2 else [*sentences, question]), str(value)


def _comparison(rng: random.Random, steps: int, highest_start: int) -> tuple[str, str]:
    """Each person's things follow from another's; the sentences stand in order, in reverse, or in any order."""
    things = rng.choice(THINGS)
    people = rng.sample(list(NAMES), steps + 1)
    values = [rng.randint(2, highest_start)]
    sentences = [rng.choice(w.COMPARISON_START).text.format(name=people[0], things=things, n=values[0])]
    question = rng.choice(w.ONE_QUESTION).text.format(name=people[steps], things=things)
    together = steps > 1 and rng.random() < 0.3
    for i in range(1, steps + 1):
        small = [k for k in range(i - 1) if values[k] <= SMALL and values[k] + values[-1] <= LARGEST]
        if together and i == steps and small:
            other = rng.choice(small)
            pair = rng.sample([people[other], people[i - 1]], 2)
            question = rng.choice(w.BOTH_QUESTION).text.format(name=pair[0], other=pair[1], things=things)
            values.append(values[other] + values[-1])
        else:
            value, wording, operand = step(rng, values[-1], w.COMPARISONS)
            sentences.append(wording.text.format(name=people[i], other=people[i - 1], things=things, n=operand))
            values.append(value)
    order = rng.choice(["forward", "forward", "reverse", "any"])
    if order == "reverse":
        sentences.reverse()
    elif order == "any":
        rng.shuffle(sentences)
    return " ".join([*sentences, question]), str(values[-1])
