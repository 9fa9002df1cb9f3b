"""SmolLM2-135M on SVAMP and ASDiv with stored GPT-3.5 rationales: methods at equal target tokens, asked GSM8K too.

    python bench/real_students.py DATA [--methods scotd-1,scotd] [--seeds 0,1] [--minutes 60]
    python bench/real_students.py --table

DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz; bench/real_students.yaml has the settings, a sweep's file
that `kpod sweep` reads too. Each student, first seed first, is added to the result files as soon as it is evaluated:
one that they hold is not made again, and one that was killed goes on from its checkpoint in KPOD_HOME. After
`--minutes` no further student is begun.

Writes bench/results/real_students.parquet (the answer read from what each student wrote, right or wrong, by question
id; neither questions nor texts), real_students.jsonl (what each student took) and real_students.md.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import yaml

SETTINGS = Path(__file__).with_suffix(".yaml")
RESULTS = Path(__file__).parent / "results"
ANSWERS, TOOK, TABLE = (RESULTS / f"real_students.{kind}" for kind in ("parquet", "jsonl", "md"))
COLUMNS = ["dataset", "split", "question_id", "predicted", "correct", "truncated"]


@dataclass(frozen=True)
class Made:
    """A student in the result files."""

    variant: str
    seed: int
    took: dict[str, Any]


def sweep(data: str) -> Any:
    from kpod.config.settings import checked
    from kpod.config.sweep import Sweep

    return checked(yaml.safe_load(SETTINGS.read_text(encoding="utf-8").replace("DATA", data)), Sweep)


def made() -> Iterator[Made]:
    if TOOK.exists():
        for line in TOOK.read_text(encoding="utf-8").splitlines():
            yield Made(**json.loads(line))


def make(arm: Any) -> None:
    """Train and evaluate one student and add it to the result files, its answers first."""
    import kpod
    from kpod.run.results import references, took

    run = kpod.run(arm.config)
    answers = run.table("predictions").select(COLUMNS)
    added = {"variant": pa.array([arm.variant] * len(answers)), "seed": pa.array([arm.seed or 0] * len(answers))}
    for place, (name, column) in enumerate(added.items()):
        answers = answers.add_column(place, name, column)
    if ANSWERS.exists():
        known = pq.read_table(ANSWERS)
        mine = pa.compute.and_(
            pa.compute.equal(known["variant"], arm.variant), pa.compute.equal(known["seed"], arm.seed or 0)
        )
        answers = pa.concat_tables([known.filter(pa.compute.invert(mine)), answers.cast(known.schema)])
    pq.write_table(answers, ANSWERS, compression="zstd")
    figures = {ref.stage: took(ref) for ref in references(run.run_id).values()}
    with TOOK.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"variant": arm.variant, "seed": arm.seed or 0, "took": figures}) + "\n")


def _of(answers: pa.Table, variant: str, seed: int) -> Any:
    """Which rows are of one student."""
    return pa.compute.and_(pa.compute.equal(answers["variant"], variant), pa.compute.equal(answers["seed"], seed))


def table() -> None:
    """The table of the methods that have all seeds of plain distillation."""
    from kpod.report.costs import cost
    from kpod.sweep.table import Result, markdown, rows

    known, answers = list(made()), pq.read_table(ANSWERS)
    seeds_of = {name: {one.seed for one in known if one.variant == name} for name in {one.variant for one in known}}
    seeds = sorted(seeds_of["scotd"])
    whole = {name for name, found in seeds_of.items() if found >= set(seeds) or name == "base"}
    results = []
    for one in known:
        if one.variant in whole and (one.seed in seeds or one.variant == "base"):
            told = answers.filter(_of(answers, one.variant, one.seed))
            told = told.append_column("answer", pa.array([""] * len(told)))  # the gold answer is not kept
            told = told.append_column("completion", pa.array([""] * len(told)))
            results.append(Result("svamp-asdiv", "smollm2-135m", one.variant, told, cost(one.took)))
    head = ["# Students of SmolLM2-135M on real rationales", "", "`python bench/real_students.py DATA`"]
    place = f"{platform.machine()}, OMP {os.environ.get('OMP_NUM_THREADS', '')}, Python {platform.python_version()}"
    others = [f"{one.variant}/s{one.seed}" for one in known if one.variant not in whole]
    more = [f"Made too, but not with all seeds: {', '.join(others)}.", ""] if others else []
    about = [f"Seeds {', '.join(map(str, seeds))} of each trained method; {place}.", "", *more]
    notes = TABLE.with_name("real_students_notes.md")
    told = [notes.read_text(encoding="utf-8")] if notes.exists() else []
    TABLE.write_text("\n".join([*head, "", *about, markdown(rows(results, "scotd")), *told]), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--methods", help="only these, comma-separated")
    parser.add_argument("--seeds", help="only these, comma-separated")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    given = parser.parse_args()
    if given.table or not given.data:
        return table()
    from kpod.sweep.plan import arms

    started = time.monotonic()
    for arm in arms(sweep(given.data)):
        wanted = not given.methods or arm.variant in given.methods.split(",")
        wanted &= not given.seeds or str(arm.seed or 0) in given.seeds.split(",")
        if not wanted or (arm.variant, arm.seed or 0) in {(one.variant, one.seed) for one in made()}:
            continue
        if time.monotonic() - started > 60 * given.minutes:
            break
        print(f"{arm.label} begins at {time.strftime('%H:%M:%S')}", flush=True)
        make(arm)
        table()
    return None


if __name__ == "__main__":
    main()
