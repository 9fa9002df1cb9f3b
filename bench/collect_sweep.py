"""A finished sweep as result files: its table and picture, and what every student answered to every question.

    KPOD_HOME=... python bench/collect_sweep.py RUN TABLE NAME "command that made it" ["a note"]

RUN and TABLE (a folder) are what `kpod sweep` prints at its end. Writes bench/results/NAME.{md,parquet,png} and
NAME_predictions.parquet: label, set, question id, the answer that was read, right or wrong. Neither questions nor what
the students wrote are kept.
"""

import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kpod import tracking
from kpod.run import results
from kpod.run.results import references

RESULTS = Path(__file__).parent / "results"
COLUMNS = ["dataset", "split", "question_id", "predicted", "correct", "truncated"]


def main() -> None:
    run_id, table, name, command, *rest = sys.argv[1:]
    folder = Path(table)
    sweep = tracking.client().get_run(run_id)
    evaluated = ".evaluate"
    labels = [name[: -len(evaluated)] for name in references(run_id) if name.endswith(evaluated)]
    told = []
    for label in sorted(labels):
        answers = results.predictions_of(f"{run_id}/{label}").select(COLUMNS)
        told.append(answers.add_column(0, "label", pa.array([label] * answers.num_rows)))
    pq.write_table(pa.concat_tables(told), RESULTS / f"{name}_predictions.parquet", compression="zstd")
    for file, suffix in (("table.parquet", "parquet"), ("accuracy.png", "png")):
        shutil.copyfile(folder / file, RESULTS / f"{name}.{suffix}")
    day = datetime.fromtimestamp(sweep.info.end_time / 1000, UTC).date().isoformat()
    head = [f"# {name} ({day}, {platform.machine()}, {os.cpu_count()} cores, no GPU)", "", f"`{command}`", ""]
    text = "\n".join([*head, *(f"{one}\n" for one in rest), (folder / "table.md").read_text()])
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
