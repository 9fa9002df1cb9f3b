"""What is wrong first in the wrong answers of a sweep on the demo's word problems, by method and set.

    KPOD_HOME=... python bench/wrong_answers.py RUN     # RUN is what `kpod sweep table-2 --size tiny` prints at its end

The equations of an answer are held against the numbers of the story, in their order. Writes
bench/results/wrong_answers.json (counts by arm) and .md; without RUN the page alone.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from kpod.questions.arithmetic import apply
from kpod.teacher.scripted import EQUATION

RESULTS = Path(__file__).parent / "results" / "wrong_answers"
KINDS = ("right", "first number", "second number", "number of steps", "arithmetic", "other")


def kind(question: str, completion: str) -> str:
    """What is wrong first: the first or second number of the first equation, arithmetic, or the number of steps."""
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    steps = [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(completion)]
    if not steps:
        return "other"
    if steps[0][0] != numbers[0]:
        return "first number"
    if steps[0][2] != numbers[1]:
        return "second number"
    if any(apply(a, sign, b) != c for a, sign, b, c in steps):
        return "arithmetic"
    return "other" if len(steps) == len(numbers) - 1 else "number of steps"


def count(run_id: str) -> dict[str, dict[str, dict[str, int]]]:
    """How many answers of each kind there are: arm -> set -> kind -> answers."""
    from kpod import schemas
    from kpod.run.results import predictions_of, references
    from kpod.store.home import home

    (file,) = home().glob("artifacts/questions/*/questions.parquet")  # all arms ask the same
    asked = {row["id"]: row["question"] for row in schemas.read(file, schemas.QUESTIONS).to_pylist()}

    evaluated = ".evaluate"
    counts = {}
    for label in sorted(name[: -len(evaluated)] for name in references(run_id) if name.endswith(evaluated)):
        by_set: dict[str, Counter[str]] = defaultdict(Counter)
        for row in predictions_of(f"{run_id}/{label}").to_pylist():
            wrong = kind(asked[row["question_id"]], row["completion"])
            by_set[row["dataset"]]["right" if row["correct"] else wrong] += 1
        counts[label] = {name: dict(by_kind) for name, by_kind in by_set.items()}
    return counts


def page(counts: dict[str, dict[str, dict[str, int]]]) -> str:
    """Mean shares over the seeds of a method."""
    methods: dict[str, list[dict[str, dict[str, int]]]] = defaultdict(list)
    for label, by_set in counts.items():
        methods[label.partition("/")[0]].append(by_set)
    lines = [
        "# What is wrong first in wrong answers",
        "",
        "`KPOD_HOME=... python bench/wrong_answers.py RUN`",
        "",
        "Share of all answers, mean of the seeds of [sweep_tiny](sweep_tiny.md).",
        "",
        f"| asked | method | seeds | {' | '.join(KINDS)} |",
        "|---" * (3 + len(KINDS)) + "|",
    ]
    for name in next(iter(methods.values()))[0]:
        for method, arms in methods.items():
            shares = [[arm[name].get(kind, 0) / sum(arm[name].values()) for kind in KINDS] for arm in arms]
            shown = " | ".join(f"{share:.1%}" for share in np.mean(shares, axis=0))
            lines.append(f"| {name} | {method} | {len(arms)} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if sys.argv[1:]:
        RESULTS.with_suffix(".json").write_text(json.dumps(count(sys.argv[1]), indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(json.loads(RESULTS.with_suffix(".json").read_text())))


if __name__ == "__main__":
    main()
