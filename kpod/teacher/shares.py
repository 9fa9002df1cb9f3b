"""Which teacher is asked which question."""

import hashlib
from collections.abc import Sequence

from kpod.config import Teacher, Teachers
from kpod.teacher.ask import Question


def shared_out(questions: Sequence[Question], config: Teacher | Teachers) -> list[tuple[Teacher, list[Question]]]:
    """Each teacher with its questions, in their order.

    A question's teacher follows from a hash of its id alone, so that it stays the same in a larger set, and what was
    paid for stays in use. Shares are therefore met on average: of n questions within about sqrt(n) / 2.
    """
    if isinstance(config, Teacher):
        return [(config, list(questions))]
    found: list[tuple[Teacher, list[Question]]] = [(one, []) for one in config.teachers]
    for question in questions:
        found[_teacher(question.id, [one.share for one in config.teachers])][1].append(question)
    return found


def _teacher(name: str, shares: Sequence[float]) -> int:
    place = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8]) / 2**64
    for number, share in enumerate(shares):
        place -= share
        if place < 0:
            return number
    return max(number for number, share in enumerate(shares) if share)  # the sum of the shares was rounded
