"""Own extraction against math-verify, on stored rationales and on the written cases of the tests.

    python bench/verifiers.py FOLDER     # questions/*.jsonl.gz and rationales/*.jsonl.gz, joined by id

Per set: completions with the closing sentence of the prompt, in a box, and without any statement (then against the
gold answer; every stored answer is right about its own statement). Cases: tests/test_answers_written.py, where an
answer is missed, or taken for one that it is not. Writes results/verifiers.json and .md.
"""

import argparse
import gzip
import json
import platform
import re
import runpy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import math_verify

from kpod.evaluate import answers_equal, extract_answer

RESULT = Path(__file__).parent / "results" / "verifiers.json"
CASES = Path(__file__).parent.parent / "tests" / "test_answers_written.py"
FORMS = {
    "sentence": "{rationale} Therefore, the answer is {answer}.",
    "box": "{rationale}\n\\boxed{{{answer}}}",
    "nothing": "{rationale}",
}
Right = Callable[[str, str, Sequence[str] | None], bool]


def own(text: str, gold: str, choices: Sequence[str] | None) -> bool:
    return answers_equal(extract_answer(text, choices), gold)


def library(text: str, gold: str, choices: Sequence[str] | None) -> bool:
    told: dict[str, Any] = {"parsing_timeout": None}
    if choices:
        letters = tuple("ABCDEFGHIJ"[: len(choices)])
        told["extraction_config"] = [math_verify.StringExtractionConfig(strings=letters)]
    wanted = math_verify.parse(gold if choices else f"${gold}$", **told) or math_verify.parse(gold, **told)
    return bool(wanted) and math_verify.verify(wanted, math_verify.parse(text, **told), timeout_seconds=None)


WAYS: dict[str, Right] = {"own": own, "math-verify": library}


def stored(folder: Path, every: int) -> dict[str, Any]:
    questions = {}
    for path in sorted((folder / "questions").glob("*.jsonl.gz")):
        questions |= {row["id"]: row for row in lines(path)}
    found: dict[str, Any] = {}
    for path in sorted((folder / "rationales").glob("*.jsonl.gz")):
        rows = [row for row in lines(path)[::every] if row["answer"]]
        counts = {name: dict.fromkeys(FORMS, 0) for name in WAYS}
        seconds = dict.fromkeys(WAYS, 0.0)
        for row in rows:
            asked = questions[row["id"]]
            choices = list(asked["choices"].values()) if asked.get("choices") else None
            for form, template in FORMS.items():
                gold = asked["answer"] if form == "nothing" else row["answer"]
                for name, right in WAYS.items():
                    started = time.process_time()
                    counts[name][form] += right(template.format(**row), gold, choices)
                    seconds[name] += time.process_time() - started
        found[path.name.removesuffix(".jsonl.gz")] = {"rows": len(rows), "right": counts, "seconds": seconds}
        print(path.name, found[path.name.removesuffix(".jsonl.gz")], flush=True)
    return found


def written() -> dict[str, Any]:
    cases = runpy.run_path(str(CASES))["STATED"]
    found = {name: {"missed": 0, "taken wrongly": 0, "raised": 0} for name in WAYS}
    for text, right, wrong in cases:
        for name, way in WAYS.items():
            for gold, kind in [*((gold, "missed") for gold in right), *((gold, "taken wrongly") for gold in wrong)]:
                try:
                    found[name][kind] += way(text, gold, None) == (kind == "taken wrongly")
                except Exception:
                    found[name]["raised"] += 1
    right, wrong = sum(len(case[1]) for case in cases), sum(len(case[2]) for case in cases)
    return {"cases": len(cases), "right answers": right, "wrong answers": wrong, "by": found}


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def table(found: dict[str, Any]) -> str:
    text = [
        "# Own extraction against math-verify",
        "",
        f"`python bench/verifiers.py FOLDER --every {found['every']}`, {found['machine']}.",
        "",
    ]
    text += ["Completions judged right of all, by how they close; and milliseconds of CPU a verdict.", ""]
    heads = [f"{form}, {name}" for form in FORMS for name in WAYS]
    text += [f"| set | rows | {' | '.join(heads)} | ms own | ms math-verify |", "|---" * (len(heads) + 4) + "|"]
    for name, one in found["stored"].items():
        cells = [f"{one['right'][way][form]:,}" for form in FORMS for way in WAYS]
        cells += [f"{1000 * one['seconds'][way] / (len(FORMS) * one['rows']):.2f}" for way in WAYS]
        text.append(f"| {name} | {one['rows']:,} | {' | '.join(cells)} |")
    cases = found["written"]
    text += ["", f"{cases['cases']} written cases with {cases['right answers']} right answers and"]
    text += [f"{cases['wrong answers']} wrong ones (the own grammar was made to pass them):", ""]
    text += ["| by | right ones missed | wrong ones taken | raised |", "|---|---|---|---|"]
    text += [f"| {n} | {o['missed']} | {o['taken wrongly']} | {o['raised']} |" for n, o in cases["by"].items()]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only each so many-th rationale")
    options = parser.parse_args()
    machine = re.sub(r"\s+", " ", f"Python {platform.python_version()}, math-verify 0.9, one core")
    found = {"machine": machine, "every": options.every, "written": written()}
    print(found, flush=True)
    found["stored"] = stored(options.folder, options.every)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
