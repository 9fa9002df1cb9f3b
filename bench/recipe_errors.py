"""Where answers of the settings of recipe_search.py first go wrong.

    python bench/recipe_errors.py FOLDER --seeds 0,1 --only scotd,kpod-paper    # FOLDER as in recipe_search.py

Compares the equations of an answer with those of the worked solution, one after the other, on validation questions.
Writes bench/results/recipe_errors.json and prints a table: shares of the questions, mean over seeds.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from recipe_search import World

RESULT = Path(__file__).parent / "results" / "recipe_errors.json"
EQUATION = re.compile(r"(\d+) ([-+x/]) (\d+) = (\d+)")
KINDS = ("right", "stops early", "goes on", "other event", "first operand", "operation", "second operand", "result")


def kind(question: str, completion: str) -> str:
    """The first difference between an answer and the solution, one of KINDS."""
    from kpod.questions.workout import work_out

    worked = work_out(question)
    if worked is None:
        raise ValueError(f"not a generated problem: {question}")
    solution = [found.groups() for step in worked.steps if (found := EQUATION.search(step))]
    told = EQUATION.findall(completion)
    for place, wanted in enumerate(solution):
        if place == len(told):
            return "stops early"
        if told[place] != wanted:
            return _difference(told[place], wanted, solution)
    return "goes on" if len(told) > len(solution) else "right"


def _difference(told: Sequence[str], wanted: Sequence[str], solution: Sequence[Sequence[str]]) -> str:
    if told[0] != wanted[0]:
        return "first operand"
    if told[1:3] != wanted[1:3] and any(tuple(told[1:3]) == tuple(other[1:3]) for other in solution):
        return "other event"
    if told[1] != wanted[1]:
        return "operation"
    return "second operand" if told[2] != wanted[2] else "result"


def main() -> None:
    from kpod import schemas

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--only", default="scotd,kpod-paper")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    shares = {}
    for name in (one.replace("; ", ", ") for one in options.only.split(",")):
        found: Counter[str] = Counter()
        for seed in seeds:
            rows, made, _ = World(options.folder, seed).predictions(name, "validation")
            asked = schemas.read(made["questions"] / "questions.parquet", schemas.QUESTIONS).to_pylist()
            texts = {row["id"]: row["question"] for row in asked}
            found.update(kind(texts[row["question_id"]], row["completion"]) for row in rows)
        shares[name] = {one: round(found[one] / found.total(), 4) for one in KINDS}
    RESULT.write_text(json.dumps({"seeds": seeds, "shares": shares}, indent=1) + "\n")
    print(f"| setting | {' | '.join(KINDS)} |", f"|{'---|' * (len(KINDS) + 1)}", sep="\n")
    for name, share in shares.items():
        print(f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in share.values())} |")


if __name__ == "__main__":
    main()
