"""Assignment of questions to teachers."""

import hashlib
from collections.abc import Sequence

from kpod.config import Teacher, Teachers
from kpod.teacher.ask import Question


def shared_out(questions: Sequence[Question], config: Teacher | Teachers) -> list[tuple[Teacher, list[Question]]]:
    """Each teacher with its questions, in their order.

    A question's teacher is chosen by a hash of its id, so that it is the same in a larger set and paid answers are
    reused. Shares are therefore approximate: the number of questions is met within about sqrt(n) / 2 of n.
    """
    if isinstance(config, Teacher):
        return [(config, list(questions))]
    shares: list[tuple[Teacher, list[Question]]] = [(teacher, []) for teacher in config.teachers]
    for question in questions:
        shares[_teacher(question.id, [teacher.share for teacher in config.teachers])][1].append(question)
    return shares


def _teacher(name: str, shares: Sequence[float]) -> int:
    place = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8]) / 2**64
    for number, share in enumerate(shares):
        place -= share
        if place < 0:
            return number
    return max(number for number, share in enumerate(shares) if share)  # the sum of the shares was rounded
