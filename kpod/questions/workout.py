"""Solution of a generated word problem from its text alone, as the scripted teacher needs it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kpod.questions import wordings as w
from kpod.questions.arithmetic import apply
from kpod.questions.wordings import Wording

Parsed = tuple[Wording, dict[str, str]]


@dataclass(frozen=True)
class WorkedProblem:
    """A solution: one sentence a step, such as "Tom has 3 + 4 = 7 apples.", and the answer."""

    steps: list[str]
    answer: str


def work_out(question: str) -> WorkedProblem | None:
    """Parse and solve a problem of this package's generator (`generate` or `easy`); None for any other text."""
    sentences = [_plain(part) for part in re.findall(r"[^.?]+[.?]", question)]
    if len(sentences) < 2:
        return None
    return _story(sentences) or _comparison(sentences)


def _plain(sentence: str) -> str:
    """The sentence without outer white space, connective and detail, capitalised."""
    sentence = sentence.strip()
    for detail in w.DETAILS:
        if sentence.endswith(f"{detail}."):
            sentence = f"{sentence.removesuffix(f'{detail}.')}."
    for connective in w.CONNECTIVES:
        sentence = sentence.removeprefix(connective)
    return sentence[:1].upper() + sentence[1:]


def _match(sentence: str, wordings: Sequence[Wording]) -> Parsed | None:
    for wording in wordings:
        if (fields := wording.read(sentence)) is not None:
            return wording, fields
    return None


def _operand(parsed: Parsed) -> int:
    wording, fields = parsed
    return wording.number or int(fields["n"])


def _story(sentences: list[str]) -> WorkedProblem | None:
    questions = w.SHORT_QUESTION + w.STORY_QUESTION + w.WORTH_QUESTION + w.PACKS_QUESTION
    if _match(sentences[0], questions):
        sentences = sentences[1:] + sentences[:1]
    question = _match(sentences[-1], questions)
    opening = _match(sentences[0], w.SHORT_START + w.START + w.START_PRODUCT)
    if question is None or opening is None:
        return None
    name, things = opening[1]["name"], opening[1]["things"]
    steps = []
    value = int(opening[1]["n"])
    if opening[0] in w.START_PRODUCT:
        each = int(opening[1]["m"])
        steps.append(f"{name} has {value} x {each} = {value * each} {things}.")
        value *= each
    for sentence in sentences[1:-1]:
        event = _match(sentence, w.SHORT_EVENTS + w.EVENTS + w.CLOSING)
        if event is None:
            return None
        operand = _operand(event)
        result = apply(value, event[0].op, operand)
        if result is None:
            return None
        verb, unit = "has", things
        if event[0] in w.WORTH:
            verb, unit = "gets", "dollars"
        elif event[0] in w.PACKS:
            verb, unit = "makes", "groups"
        steps.append(f"{name} {verb} {value} {event[0].op} {operand} = {result} {unit}.")
        value = result
    return WorkedProblem(steps, str(value))


def _comparison(sentences: list[str]) -> WorkedProblem | None:
    question = _match(sentences[-1], w.ONE_QUESTION + w.BOTH_QUESTION)
    if question is None:
        return None
    known: dict[str, int] = {}
    waiting: list[Parsed] = []
    for sentence in sentences[:-1]:
        if opening := _match(sentence, w.COMPARISON_START):
            known[opening[1]["name"]] = int(opening[1]["n"])
        elif relation := _match(sentence, w.COMPARISONS):
            waiting.append(relation)
        else:
            return None
    things, steps = question[1]["things"], []
    while waiting:  # a chain of people: one sentence becomes solvable after the other
        ready = next((relation for relation in waiting if relation[1]["other"] in known), None)
        if ready is None:
            return None
        waiting.remove(ready)
        value, operand = known[ready[1]["other"]], _operand(ready)
        result = apply(value, ready[0].op, operand)
        if result is None:
            return None
        name = ready[1]["name"]
        steps.append(f"{name} has {value} {ready[0].op} {operand} = {result} {things}.")
        known[name] = result
    name, other = question[1]["name"], question[1].get("other")
    if name not in known or (other is not None and other not in known):
        return None
    if other is None:
        return WorkedProblem(steps, str(known[name]))
    total = known[name] + known[other]
    steps.append(f"{name} and {other} have {known[name]} + {known[other]} = {total} {things}.")
    return WorkedProblem(steps, str(total))
