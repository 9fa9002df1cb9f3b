"""Working a word problem out from its text alone, as a scripted teacher has to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kpod.questions import wordings as w
from kpod.questions.arithmetic import COMPUTE
from kpod.questions.wordings import Wording

Found = tuple[Wording, dict[str, str]]


@dataclass(frozen=True)
class WorkedProblem:
    """A problem worked out: one sentence a step, such as "Tom has 3 + 4 = 7 apples.", and the answer."""

    steps: list[str]
    answer: str


def work_out(question: str) -> WorkedProblem | None:
    """Read a problem of this package's generator (`generate` or `easy`) and solve it; None for any other text."""
    sentences = [_plain(part) for part in re.findall(r"[^.?]+[.?]", question)]
    if len(sentences) < 2:
        return None
    return _story(sentences) or _comparison(sentences)


def _plain(sentence: str) -> str:
    """The sentence without white space, connective and detail, its first letter a capital."""
    sentence = sentence.strip()
    for detail in w.DETAILS:
        if sentence.endswith(f"{detail}."):
            sentence = f"{sentence.removesuffix(f'{detail}.')}."
    for connective in w.CONNECTIVES:
        sentence = sentence.removeprefix(connective)
    return sentence[:1].upper() + sentence[1:]


def _match(sentence: str, wordings: Sequence[Wording]) -> Found | None:
    for wording in wordings:
        if (fields := wording.read(sentence)) is not None:
            return wording, fields
    return None


def _operand(found: Found) -> int:
    wording, fields = found
    return wording.number or int(fields["n"])


def _apply(value: int, op: str, operand: int) -> int | None:
    """The new value; None where the arithmetic leaves the whole numbers."""
    if op == "/" and (operand == 0 or value % operand):
        return None
    result = COMPUTE[op](value, operand)
    return result if result >= 0 else None


def _story(sentences: list[str]) -> WorkedProblem | None:
    questions = w.SHORT_QUESTION + w.STORY_QUESTION + w.WORTH_QUESTION + w.PACKS_QUESTION
    if _match(sentences[0], questions):
        sentences = sentences[1:] + sentences[:1]
    question = _match(sentences[-1], questions)
    start = _match(sentences[0], w.SHORT_START + w.START + w.START_PRODUCT)
    if question is None or start is None:
        return None
    name, things = start[1]["name"], start[1]["things"]
    steps = []
    value = int(start[1]["n"])
    if start[0] in w.START_PRODUCT:
        each = int(start[1]["m"])
        steps.append(f"{name} has {value} x {each} = {value * each} {things}.")
        value *= each
    for sentence in sentences[1:-1]:
        found = _match(sentence, w.SHORT_EVENTS + w.EVENTS + w.CLOSING)
        if found is None:
            return None
        operand = _operand(found)
        result = _apply(value, found[0].op, operand)
        if result is None:
            return None
        verb, unit = "has", things
        if found[0] in w.WORTH:
            verb, unit = "gets", "dollars"
        elif found[0] in w.PACKS:
            verb, unit = "makes", "groups"
        steps.append(f"{name} {verb} {value} {found[0].op} {operand} = {result} {unit}.")
        value = result
    return WorkedProblem(steps, str(value))


def _comparison(sentences: list[str]) -> WorkedProblem | None:
    question = _match(sentences[-1], w.ONE_QUESTION + w.BOTH_QUESTION)
    if question is None:
        return None
    known: dict[str, int] = {}
    waiting: list[Found] = []
    for sentence in sentences[:-1]:
        if start := _match(sentence, w.COMPARISON_START):
            known[start[1]["name"]] = int(start[1]["n"])
        elif found := _match(sentence, w.COMPARISONS):
            waiting.append(found)
        else:
            return None
    things, steps = question[1]["things"], []
    while waiting:  # a chain of people: one sentence becomes solvable after the other
        ready = next((found for found in waiting if found[1]["other"] in known), None)
        if ready is None:
            return None
        waiting.remove(ready)
        value, operand = known[ready[1]["other"]], _operand(ready)
        result = _apply(value, ready[0].op, operand)
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
