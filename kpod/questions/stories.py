"""Word problems of the family `stories`: one person's things change, told in short sentences in order."""

import random

from kpod.questions import wordings as w
from kpod.questions.arithmetic import step

NAMES, OTHER_NAMES = list(w.NAMES)[:12], list(w.NAMES)[12:]
THINGS, OTHER_THINGS = w.THINGS[:10], w.THINGS[10:]
HIGHEST_START = 15


def story(
    rng: random.Random,
    fewest: int,
    most: int,
    highest_start: int = HIGHEST_START,
    wordy: bool = False,
    others: bool = False,
) -> tuple[str, str]:
    """Draw (question, answer) with `fewest` to `most` operations and a first value of 2 to `highest_start`.

    With `wordy` an irrelevant detail is added to half of the events, at random; `others` draws people and things that
    occur in no other story.
    """
    name, things = rng.choice(OTHER_NAMES if others else NAMES), rng.choice(OTHER_THINGS if others else THINGS)
    value = rng.randint(2, highest_start)
    sentences = [rng.choice(w.SHORT_START).text.format(name=name, n=value, things=things)]
    for _ in range(rng.randint(fewest, most)):
        value, wording, operand = step(rng, value, w.SHORT_EVENTS)
        who = name if rng.random() < 0.5 else w.NAMES[name].capitalize()
        sentence = wording.text.format(who=who, n=operand)
        if wordy and rng.random() < 0.5:
            sentence = f"{sentence[:-1]}{rng.choice(w.DETAILS)}."
        sentences.append(sentence)
    sentences.append(rng.choice(w.SHORT_QUESTION).text.format(name=name, things=things))
    return " ".join(sentences), str(value)
