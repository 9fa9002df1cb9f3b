"""Lines of Python by folder, and why each folder is written here: `python bench/lines.py` prints the table of
CONTRIBUTING.md, `python bench/lines.py --write` puts it there."""

import argparse
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- lines -->\n", "<!-- /lines -->"
WHY = {  # folder -> what libraries do in it, and what is left for us
    "answers": "math-verify checks LaTeX; answers stated in prose, options, quantities and denials have no library",
    "cli": "typer and rich; the commands",
    "config": "pydantic; the settings with their descriptions, and the recipes",
    "curriculum": "Eq. 9-13 with three solvers; scikit-learn makes the clusters",
    "difficulty": "Eq. 8",
    "distill": "Eq. 15 as a stage, on the engine of training/",
    "estimate": "memory and hours from shapes before anything is loaded",
    "evaluate": "greedy decoding in batches, paired tests (scipy), a task for lm-evaluation-harness",
    "methods": "the objectives of the methods that KPOD is compared with",
    "models": "MLflow's registry, the hub, GGUF (llama.cpp): gate, lineage, reproduction and export over them",
    "questions": "generated problems and their solutions; datasets and pyarrow read the public sets",
    "report": "matplotlib and Jinja2; the page, its figures and token views",
    "retrain": "contract, duplicates and gate for new questions",
    "run": "the table of stages and how one is executed, with or without Prefect",
    "steps": "cutting rationales into steps that tile them, without a model",
    "store": "content keys from settings, inputs and code; atomic folders, locks, liveness",
    "student": "a small student trained from scratch; transformers loads the others",
    "sweep": "arms, tables and statistics over seeds",
    "teacher": "openai, httpx2 and aiohttp send and serve; the journal that pays nothing twice, budgets, limits",
    "text": "prompts, closings and token offsets for any tokenizer of transformers",
    "tokens": "pyarrow; token ids of all rationales as flat columns, mapped into memory",
    "tracking": "MLflow; reading its SQLite file in milliseconds",
    "training": "torch and accelerate; the loop that can be killed at any step and gives the same bytes",
    "weighting": "Eq. 2-7: masks, predictor, weighter",
    "(modules)": "errors, observers, fields, Parquet contracts, display",
    "flows": "Prefect; cache, locks, deployments as tables of contents",
}


def counted() -> Counter[str]:
    """Lines by folder of `kpod/`, and of `flows/`."""
    found = subprocess.run(
        ["git", "ls-files", "kpod/*.py", "flows/*.py"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines: Counter[str] = Counter()
    for name in found.stdout.split():
        top, *rest = Path(name).parts
        folder = top if top == "flows" else rest[0] if len(rest) > 1 else "(modules)"
        lines[folder] += len((ROOT / name).read_text(encoding="utf-8").splitlines())
    return lines


def table(lines: Counter[str]) -> str:
    """The table as Markdown. Raises KeyError for a folder without a reason."""
    rows = [f"| `{folder}` | {count:,} | {WHY[folder]} |" for folder, count in lines.most_common()]
    rows.append(f"| all | {lines.total():,} | |")
    return "\n".join(["| folder | lines | what is ours |", "|---|---|---|", *rows]) + "\n"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    text = table(counted())
    if not parser.parse_args().write:
        print(text)
        return
    path = ROOT / "CONTRIBUTING.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
