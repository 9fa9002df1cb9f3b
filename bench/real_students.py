"""SmolLM2-135M on SVAMP and ASDiv with stored GPT-3.5 rationales: methods at equal target tokens, asked GSM8K too.

    python bench/real_students.py DATA [--only kpod,scotd] [--seeds 0,1] [--minutes 60]
    python bench/real_students.py DATA --settings bench/real_students_full.yaml --jobs 8
    python bench/real_students.py --table            only the table, from the result files

DATA holds questions/*.jsonl.gz and rationales/*.jsonl.gz. The settings are sweeps that `kpod sweep` reads too:
real_students.yaml is for hours of a CPU, real_students_full.yaml for a GPU. Students, first seed first and `--jobs`
at a time, are added to the result files as soon as they are evaluated: one that the files hold is not made again, and
one that was killed goes on from its checkpoint in KPOD_HOME. After `--minutes` no further student is begun.

Writes, by the name of the settings, real_students.parquet (the answer read from what each student wrote, right or
wrong, by question id; neither questions nor texts), real_students.jsonl (what each student took) and real_students.md
into bench/results or `--out`, and with `--picture` docs/images/real_students.png.
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from kpod.store.files import atomic, file_lock
from kpod.store.home import home, prepare

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "real_students.png"
COLUMNS = ["dataset", "split", "question_id", "predicted", "correct", "truncated"]
HELD_OUT = 13  # one training question in so many chooses the epoch


def held_out(source: Path) -> Path:
    """A folder in KPOD_HOME with the questions in other splits: some of training are for validation, those of
    validation for test. The epoch is chosen by the former."""
    folder = home() / "real-students"
    folder.mkdir(exist_ok=True)
    for name in ("svamp", "asdiv", "gsm8k"):
        parts = {"test": list(_rows(source / "questions" / f"{name}.val.jsonl.gz"))}
        if name != "gsm8k":
            training = list(_rows(source / "questions" / f"{name}.train.jsonl.gz"))
            held = [not zlib.crc32(row["id"].encode()) % HELD_OUT for row in training]
            parts["train"] = [row for row, out in zip(training, held, strict=True) if not out]
            parts["validation"] = [row for row, out in zip(training, held, strict=True) if out]
        for split, rows in parts.items():
            with atomic(folder / f"{name}.{split}.jsonl") as path:
                path.write_text("".join(json.dumps({**row, "split": split}) + "\n" for row in rows), encoding="utf-8")
    return folder


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def arms(settings: Path, source: Path) -> list[Any]:
    """The students of the settings, whose DATA is `source` and whose HELD_OUT the folder `held_out(source)`."""
    from kpod.config.settings import checked
    from kpod.config.sweep import Sweep
    from kpod.sweep import plan

    text = settings.read_text(encoding="utf-8").replace("DATA", str(source.resolve()))
    return plan.arms(checked(yaml.safe_load(text.replace("HELD_OUT", str(held_out(source)))), Sweep))


def make(arm: Any, out: Path) -> None:
    """Train and evaluate a student; its answers and what it took go to `out`."""
    import kpod
    from kpod.distill import points
    from kpod.run.results import references, took

    run = kpod.run(arm.config)
    answers = run.table("predictions").select(COLUMNS)
    added = {"variant": pa.array([arm.variant] * len(answers)), "seed": pa.array([arm.seed or 0] * len(answers))}
    for place, (name, column) in enumerate(added.items()):
        answers = answers.add_column(place, name, column)
    told = {"variant": arm.variant, "seed": arm.seed or 0}
    if arm.config.distill.validation and arm.variant != "base":
        told["validation"] = [vars(point) for point in points.read(run.folder("distill") / points.FILE)]
    told["took"] = {ref.stage: took(ref) for ref in references(run.run_id).values()}
    out.mkdir(parents=True)
    pq.write_table(answers, out / "answers.parquet")
    (out / "took.json").write_text(json.dumps(told), encoding="utf-8")


@dataclass(frozen=True)
class Study:
    """The result files of one settings file, `name`, in a folder."""

    folder: Path
    name: str

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.name}{kind}"

    @property
    def answers(self) -> Path:
        return self.file(".parquet")

    @property
    def took(self) -> Path:
        return self.file(".jsonl")

    def made(self) -> list[dict[str, Any]]:
        """What each student took, in the order in which they were made."""
        return [json.loads(line) for line in self.took.read_text().splitlines()] if self.took.exists() else []

    def add(self, made: Path) -> None:
        """Add a student to the files, its answers first."""
        answers, told = pq.read_table(made / "answers.parquet"), json.loads((made / "took.json").read_text())
        if self.answers.exists():
            known = pq.read_table(self.answers)
            mine = _of(known, told["variant"], told["seed"])
            answers = pa.concat_tables([known.filter(pc.invert(mine)), answers.cast(known.schema)])
        with atomic(self.answers) as path:
            pq.write_table(answers, path, compression="zstd")
        with self.took.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")

    def table(self, picture: bool = False) -> None:
        """Write the table of the methods that have all seeds of plain distillation, then those with fewer seeds against
        the same seeds of it."""
        from kpod.sweep.figure import accuracy_by_variant
        from kpod.sweep.table import markdown, rows

        seeds_of: dict[str, set[int]] = {}
        for one in self.made():
            seeds_of.setdefault(one["variant"], set()).add(one["seed"])
        if "scotd" not in seeds_of:
            print("no table yet: all methods are compared with scotd, which is not made")
            return
        base, plain = seeds_of.pop("base", None), seeds_of.pop("scotd")
        whole = ["scotd", *(name for name, seeds in seeds_of.items() if seeds >= plain)]
        found = rows(self.results(["base", *whole] if base else whole, plain), "scotd")
        head = f"# Students of SmolLM2-135M on real rationales\n\n`python bench/real_students.py DATA{self.option}`"
        page = [head, f"Seeds {_listed(plain)} of each trained method.", markdown(found)]
        for name in [name for name in seeds_of if name not in whole and seeds_of[name] & plain]:
            common = seeds_of[name] & plain
            page.append(f"`{name}` has fewer; on seeds {_listed(common)}:")
            page.append(markdown(rows(self.results(["scotd", name], common), "scotd")))
        notes = self.file("_notes.md")
        if notes.exists():
            page.append(notes.read_text(encoding="utf-8"))
        if picture:
            accuracy_by_variant(found).savefig(PICTURE)
        text = "\n\n".join(part.strip() for part in page) + "\n"
        self.file(".md").write_text(text, encoding="utf-8")
        print(text)

    def results(self, variants: Sequence[str], seeds: Set[int]) -> list[Any]:
        """The answers and costs of these variants with these seeds; those of the student before training have one."""
        from kpod.report.costs import cost
        from kpod.sweep.table import Result

        answers, found = pq.read_table(self.answers), []
        for one in sorted(self.made(), key=lambda one: one["seed"]):
            if one["variant"] in variants and (one["seed"] in seeds or one["variant"] == "base"):
                told = answers.filter(_of(answers, one["variant"], one["seed"]))
                for column in ("answer", "completion"):  # neither gold answers nor texts are kept
                    told = told.append_column(column, pa.array([""] * len(told)))
                found.append(Result("svamp-asdiv", "smollm2-135m", one["variant"], told, cost(one["took"])))
        return sorted(found, key=lambda result: variants.index(result.variant))

    @property
    def option(self) -> str:
        """The option of the command that names the settings; empty for the default ones."""
        return "" if self.name == Path(__file__).stem else f" --settings bench/{self.name}.yaml"


def _listed(seeds: Set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _of(answers: pa.Table, variant: str, seed: int) -> Any:
    """Which rows are of one student."""
    return pc.and_(pc.equal(answers["variant"], variant), pc.equal(answers["seed"], seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--only", help="only these methods and variants, comma-separated")
    parser.add_argument("--seeds", help="only these, comma-separated")
    parser.add_argument("--jobs", type=int, default=1, help="students made at a time, each in its own process")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    parser.add_argument("--picture", action="store_true", help="write table and picture anew")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    given = parser.parse_args()
    study, started = Study(given.out, given.settings.stem), time.monotonic()
    if given.table or given.picture or not given.data:
        return study.table(given.picture)
    prepare()
    planned = arms(given.settings, given.data)
    if given.make:
        return make(next(arm for arm in planned if arm.label == given.make), given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    known = {(one["variant"], one["seed"]) for one in study.made()}

    def one(arm: Any) -> None:
        folder = home() / "real-students" / arm.label.replace("/", "-")
        if time.monotonic() - started > 60 * given.minutes:
            return
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{time.strftime('%H:%M:%S')} {arm.label} begins", flush=True)
        argv = [sys.executable, __file__, str(given.data), "--settings", str(given.settings)]
        with folder.with_suffix(".log").open("w") as log:
            made = [*argv, "--make", arm.label, "--out", str(folder)]
            failed = subprocess.run(made, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if failed:
            print(f"{arm.label} failed:", folder.with_suffix(".log").read_text()[-1500:], flush=True)
            return
        with file_lock(home() / "locks" / "real-students.lock"):
            study.add(folder)
        print(f"{time.strftime('%H:%M:%S')} {arm.label} ends", flush=True)

    wanted = [
        arm for arm in planned
        if (not given.only or arm.variant in given.only.split(","))
        and (not given.seeds or str(arm.seed or 0) in given.seeds.split(","))
        and (arm.variant, arm.seed or 0) not in known
    ]  # fmt: skip
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(one, wanted))
    return study.table()


if __name__ == "__main__":
    main()
