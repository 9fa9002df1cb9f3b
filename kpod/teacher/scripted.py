"""The scripted teacher: solves a generated word problem from its text and writes as a chatty model would."""

import random
import re
from collections.abc import Iterator

from kpod.config import ScriptedEndpoint
from kpod.questions.arithmetic import apply
from kpod.questions.workout import work_out

FILLER = (
    "Let us take this one part at a time.",
    "It helps to read the story slowly and carefully.",
    "Here the words tell us what to do next.",
    "This is a common kind of problem in school.",
    "We should keep an eye on what is being asked.",
    "Many people would draw a little picture at this point.",
    "So far everything is going well.",
    "That sounds like a nice thing to have.",
    "Now we can go on to what happens next in the story.",
    "It is always good to check the work twice.",
    "Note that the names do not matter for the result.",
    "This part of the story is easy to miss.",
    "With that in mind we can continue.",
    "One could also count on the fingers here.",
    "The weather is not mentioned, so we leave it aside.",
    "As we can see, the problem is getting simpler.",
    "Great, that part is done.",
    "We do not need any special formula for this.",
    "Remember that only the amounts are important.",
    "Let me think about this for a moment.",
)
PHRASES = (
    "So", "Now", "Well,", "Okay,", "Clearly,", "Of course,", "As we can see,", "It is easy to see that", "Simply put,",
    "Just as before,", "Without any trouble,", "Looking at the story,",
)  # fmt: skip
WORDINGS = (
    "{before}{equation}{after}",
    "that makes {equation}.",
    "we get {equation}{after}",
    "this gives us {equation}.",
)
UNKNOWN = "I cannot work this out."
OFFSETS = (-10, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 10)
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")


class Scripted:
    """Answers by script; the text depends only on the endpoint's settings, the question and the sample."""

    def __init__(self, endpoint: ScriptedEndpoint) -> None:
        self._endpoint = endpoint

    def answer(self, prompt: str, sample: int) -> str:
        """The reply to the last question in `prompt`: a rationale and "The answer is <answer>."."""
        question = last_question(prompt)
        worked = work_out(question)
        if worked is None:
            return UNKNOWN
        rng = random.Random(f"{self._endpoint.seed}/{question}/{sample}")
        steps, answer = worked.steps, worked.answer
        if rng.random() < self._endpoint.wrong:
            steps, answer = _with_mistake(rng, steps, answer)
        sentences = [sentence for step in steps for sentence in self._sentences(rng, step)]
        return f"{' '.join(sentences)} The answer is {answer}."

    def _sentences(self, rng: random.Random, step: str) -> Iterator[str]:
        """A step's sentences: perhaps a filler, then the equation in one of the wordings."""
        if rng.random() < self._endpoint.filler:
            yield rng.choice(FILLER)
        phrase = f"{rng.choice(PHRASES)} " if rng.random() < self._endpoint.phrases else ""
        wording = rng.choice(WORDINGS[: self._endpoint.wordings])
        match = EQUATION.search(step)
        if match is None:
            raise RuntimeError(f"a step without an equation: {step}")
        text = wording.format(before=step[: match.start()], equation=match[0], after=step[match.end() :])
        yield f"{phrase}{text}" if phrase else f"{text[0].upper()}{text[1:]}"


def last_question(prompt: str) -> str:
    """The text between the last `Q:` and the `A:` after it; the whole prompt if there is none."""
    return prompt.rpartition("Q:")[2].partition("A:")[0].strip()


def _with_mistake(rng: random.Random, steps: list[str], answer: str) -> tuple[list[str], str]:
    """Change one result; the later steps follow from it without a further mistake.

    Mistakes after which a division would leave a remainder are not made.
    """
    slips = [(place, off) for place in range(len(steps)) for off in OFFSETS]
    rng.shuffle(slips)
    for place, off in slips:
        result = _propagate(steps, place, off)
        if result is not None and (wrong := result[1].get(answer, answer)) != answer:
            return result[0], wrong
    return steps, str(int(answer) + 1)


def _propagate(steps: list[str], place: int, off: int) -> tuple[list[str], dict[str, str]] | None:
    """The steps with result `place` changed by `off`, and the changed results; None if a later step is impossible."""
    changed: dict[str, str] = {}
    sentences = list(steps)
    for i in range(place, len(steps)):
        match = EQUATION.search(steps[i])
        if match is None:
            return None
        left, op, right, value = match.groups()
        a = int(changed.get(left, left))
        # Only a sum over two people has a result on its right; elsewhere a number of the question stands there.
        b = int(changed.get(right, right)) if " and " in steps[i][: match.start()] else int(right)
        new = int(value) + off if i == place else apply(a, op, b)
        if new is None or new < 1:
            return None
        if str(new) != value:
            changed[value] = str(new)
        sentences[i] = f"{steps[i][: match.start()]}{a} {op} {b} = {new}{steps[i][match.end() :]}"
    return sentences, changed
