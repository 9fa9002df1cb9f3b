"""Seeded multi-step arithmetic word problems with the splits of a data set, and easy ones to pretrain on."""

import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from kpod.config import Family, WordProblems
from kpod.errors import ConfigError
from kpod.questions import wordings as w
from kpod.questions.arithmetic import LARGEST, step
from kpod.questions.mixed import mixed
from kpod.questions.stories import story
from kpod.questions.workout import work_out

Problem = tuple[str, str]  # question, answer
FAMILIES: dict[Family, Callable[..., Problem]] = {"stories": story, "mixed": mixed}
HIGHEST_EASY_START = 30  # pretraining meets the sums that longer chains lead to


def generate(config: WordProblems) -> list[dict[str, object]]:
    """Rows of schemas.QUESTIONS: `wordproblems` (three splits), then the sets `-longer` and `-harder` (split test).

    No text occurs twice. Each split has its own random stream by (seed, set, split), so a larger training split
    changes neither the others nor its own first problems. Raises ConfigError if there are too few different problems.
    """
    usual = partial(FAMILIES[config.family], fewest=config.min_steps, most=config.max_steps)
    longer = {
        "steps": partial(FAMILIES[config.family], fewest=config.max_steps + 1, most=config.longer_steps),
        "words": partial(usual, wordy=True),
    }
    harder = {
        "family": partial(mixed, fewest=config.min_steps, most=config.max_steps),
        "names": partial(usual, others=True),
    }
    parts: list[tuple[str, str, int, Callable[..., Problem]]] = [
        ("wordproblems", "train", config.train, usual),
        ("wordproblems", "validation", config.validation, usual),
        ("wordproblems", "test", config.test, usual),
        ("wordproblems-longer", "test", config.longer, longer[config.longer_by]),
        ("wordproblems-harder", "test", config.harder, harder[config.harder_by]),
    ]
    seen: set[str] = set()
    rows: list[list[dict[str, object]]] = []
    for dataset, split, count, make in reversed(parts):  # where texts collide, training gives way
        draw = partial(make, random.Random(f"{config.seed}/{dataset}/{split}"))
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
                for i, (text, answer) in enumerate(_distinct(draw, count, seen, easy=False))
            ]
        )
    return [row for part in reversed(rows) for row in part]


def easy(count: int, seed: int, family: Family = "stories") -> list[tuple[str, str, str]]:
    """`count` different (question, rationale, answer) of one or two steps; `generate` makes none of them.

    Raises ConfigError if there are too few different problems.
    """
    draw = partial(FAMILIES[family], random.Random(f"{seed}/easy"), 1, 2, HIGHEST_EASY_START)
    result = []
    for text, answer in _distinct(draw, count, set(), easy=True):
        worked = work_out(text)
        if worked is None:
            raise RuntimeError(f"cannot read back what was written: {text}")
        result.append((text, " ".join(worked.steps), answer))
    return result


def sums(count: int, seed: int, family: Family = "stories") -> list[str]:
    """`count` equations such as "3 + 4 = 7", the operations of a family equally likely."""
    rng = random.Random(f"{seed}/sums")
    wordings = w.SHORT_EVENTS if family == "stories" else w.EVENTS
    result = []
    for _ in range(count):
        value = rng.randint(2, LARGEST)
        after, wording, operand = step(rng, value, wordings)
        result.append(f"{value} {wording.op} {operand} = {after}")
    return result


def _distinct(draw: Callable[[], Problem], count: int, seen: set[str], easy: bool) -> Iterator[Problem]:
    """Draw `count` problems whose text is not in `seen`, and remember them there."""
    for _ in range(count):
        for _ in range(1000):
            text, answer = draw()
            if text not in seen and _is_easy(text) == easy:
                break
        else:
            raise ConfigError("questions.sources: no more different word problems of so few steps: ask for fewer")
        seen.add(text)
        yield text, answer


def _is_easy(text: str) -> bool:
    """Half of all texts, by a hash, belong to `easy`, the other half to `generate`, so that none is in both."""
    return zlib.crc32(text.encode()) % 2 == 1
