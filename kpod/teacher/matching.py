"""Matching of prompts with questions; a prompt may hold instructions before and after the question."""

import re
from collections import defaultdict
from collections.abc import Sequence

from kpod.teacher.ask import Question
from kpod.text.prompts import question_text

MOST_PARTS = 40  # borders in a prompt that are tried as begin and end of the question
_BORDER = re.compile(r"(?<=[.!?:}\]\n])\s+|\n+")


class Matcher:
    """Finds questions by their text, ignoring white space and case."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._known: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            for text in {question.question, question_text(question.question, question.choices)}:
                self._known[_plain(text)].append(question)

    def find(self, prompt: str) -> list[Question]:
        """The questions whose text is the prompt, else the longest part of it between sentence ends; may be empty."""
        if questions := self._known.get(_plain(prompt)):
            return questions
        borders = [0, *(match.end() for match in _BORDER.finditer(prompt)), len(prompt)]
        if len(borders) > MOST_PARTS:
            borders = borders[: MOST_PARTS // 2] + borders[-MOST_PARTS // 2 :]
        parts = [(end - begin, begin, end) for i, begin in enumerate(borders) for end in borders[i + 1 :]]
        for _, begin, end in sorted(parts, reverse=True):
            if questions := self._known.get(_plain(prompt[begin:end])):
                return questions
        return []


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
