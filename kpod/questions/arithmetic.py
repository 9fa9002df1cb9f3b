"""The sums of the word problems: small enough that a model of a million parameters can learn them.

Every value is an integer in 2..LARGEST, so a tokenizer with a token for each number of two digits writes an equation
in five tokens.
"""

import operator
import random
from collections.abc import Callable, Sequence

from kpod.questions.wordings import Wording

LARGEST = 40
SMALL = 12  # the largest value that is multiplied
COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "x": operator.mul, "/": operator.floordiv,
}  # fmt: skip


def apply(value: int, op: str, operand: int) -> int | None:
    """The result of an operation; None if it is negative or no integer."""
    if op == "/" and (operand == 0 or value % operand):
        return None
    result = COMPUTE[op](value, operand)
    return result if result >= 0 else None


def operations(value: int, wordings: Sequence[Wording]) -> dict[str, Sequence[int]]:
    """The operations in `wordings` that keep `value` an integer in 2..LARGEST, each with its possible operands."""
    operands: dict[str, Sequence[int]] = {
        "+": range(2, min(9, LARGEST - value) + 1),
        "-": range(2, min(9, value - 2) + 1),
        "x": range(2, min(3, LARGEST // value) + 1) if value <= SMALL else (),
        "/": [n for n in range(2, 6) if value % n == 0 and value // n >= 2],
    }
    allowed = {wording.op for wording in wordings}
    return {op: numbers for op, numbers in operands.items() if numbers and op in allowed}


def step(rng: random.Random, value: int, wordings: Sequence[Wording]) -> tuple[int, Wording, int]:
    """Draw one operation on `value`, all operations equally likely; returns the new value, the wording, the operand."""
    choices = operations(value, wordings)
    op = rng.choice(list(choices))
    operand = rng.choice(choices[op])
    wording = rng.choice([x for x in wordings if x.op == op and x.number in (None, operand)])
    return COMPUTE[op](value, operand), wording, operand
