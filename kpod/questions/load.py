"""Questions from files and from the hub, as rows of `schemas.QUESTIONS` before they are checked."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpod.config import QuestionFile, QuestionHub
from kpod.errors import DataError
from kpod.prompt import letter

Row = dict[str, Any]

# Where the public sets live, and the columns that hold question and answer.
HUB = {
    "gsm8k": ("openai/gsm8k", "main", "question", "answer"),
    "svamp": ("ChilleD/SVAMP", None, "question_concat", "Answer"),
    "asdiv": ("EleutherAI/asdiv", None, "question", "answer"),
    "commonsenseqa": ("tau/commonsense_qa", None, "question", "answerKey"),
}
# The paper's Table 4: train, validation, test.
SIZES = {
    "gsm8k": (7473, 660, 659),
    "asdiv": (1462, 313, 314),
    "svamp": (700, 150, 150),
    "commonsenseqa": (8520, 1221, 1221),
}


def from_files(source: QuestionFile) -> Iterator[Row]:
    """Rows of every split's file. Raises DataError for a file that cannot be read."""
    for split, path in source.files.items():
        rows = list(_read(path))
        for row in rows[: source.limit.get(split, len(rows))]:
            yield normalised({**row, "dataset": source.dataset, "split": split})


def from_hub(source: QuestionHub) -> Iterator[Row]:
    """Rows of a public set, cut into the sizes of the paper's Table 4 in the set's own order.

    Raises DataError in one line if the hub cannot be reached.
    """
    import datasets

    name, subset, question, answer = HUB[source.dataset]
    try:
        found = datasets.load_dataset(name, subset, revision=source.revision)
    except (OSError, ValueError, ConnectionError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"questions: {name} cannot be had from the hub ({first}); use a source of kind file") from error
    everything = [row for part in found.values() for row in part]
    starts = dict(zip(("train", "validation", "test"), SIZES[source.dataset], strict=True))
    first = 0
    for split, size in starts.items():
        rows = everything[first : first + size]
        first += size
        if split not in source.splits:
            continue
        for number, row in enumerate(rows[: source.limit.get(split, size)]):  # type: ignore[call-overload]
            text, gold = str(row[question]), str(row[answer])
            if source.dataset == "gsm8k":
                gold = gold.rpartition("####")[2].strip()
            if source.dataset == "asdiv":
                text, gold = f"{row['body']} {text}", gold.split(" (")[0]
            choices = row["choices"]["text"] if source.dataset == "commonsenseqa" else None
            identity = f"{source.dataset}-{split}-{number:05d}"
            yield {
                "id": identity, "dataset": source.dataset, "split": split,
                "question": text, "answer": gold, "choices": choices,
            }  # fmt: skip


def normalised(row: Row) -> Row:
    """The contract's columns of a row; options may come as letter -> text or as a list."""
    choices = row.get("choices")
    if isinstance(choices, dict):
        letters = list(choices)
        gold = row.get("answer")
        choices = list(choices.values())
        row = {**row, "answer": letter(letters.index(gold)) if gold in letters else gold}
    return {
        "id": _text(row.get("id")),
        "dataset": row["dataset"],
        "split": row["split"],
        "question": _text(row.get("question")),
        "answer": _text(row.get("answer")),
        "choices": [str(choice) for choice in choices] if choices else None,
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _read(path: Path) -> Iterator[Row]:
    try:
        if path.suffix == ".parquet":
            yield from pq.read_table(path).to_pylist()
            return
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    yield row if isinstance(row, dict) else {"id": f"line {number}"}
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error.msg})") from error
    except (OSError, EOFError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
