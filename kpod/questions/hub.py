"""The paper's public sets from the Hugging Face hub, cut as in its Table 4 (sizes from MCC-KD).

| set | official parts | train / validation / test |
|---|---|---|
| GSM8K | train 7473, test 1319 | 7473 / 660 / 659: the official test set halved |
| ASDiv | 2305 in one part | 1462 / 313 / 314 of the questions with a single number as the answer |
| SVAMP | train 700, test 300 | 700 / 150 / 150: the official test set halved |
| CommonsenseQA | train 9741, validation 1221 | 8520 / 1221 / 1221: the test is the official validation |

Which questions fall into a part that is not official the papers do not say: here a fixed seed decides.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import httpx

from kpod.answers.quantities import parse
from kpod.config import QuestionHub, Split
from kpod.errors import DataError
from kpod.questions.raw import Raw

SEED = 0
Parts = Sequence[tuple[Split, int | None]]  # None: all that the other parts leave


@dataclass(frozen=True)
class HubSet:
    """Where a set lies, how its official parts are cut, and how a row reads (index in its part, row -> fields)."""

    path: str
    name: str | None
    parts: Mapping[str, Parts]
    fields: Callable[[str, int, Mapping[str, Any]], dict[str, Any]]


def _gsm8k(part: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": f"gsm8k-{part}-{index:04d}", "question": row["question"], "answer": row["answer"]}


def _asdiv(part: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    answer = re.sub(r"\s*\([^)]*\)\s*$", "", str(row["answer"]))  # "9 (apples)"
    return {
        "id": f"asdiv-nluds-{index + 1:04d}",
        "question": f"{row['body'].strip()} {row['question'].strip()}",
        "answer": answer if parse(answer) else None,
        "given": row["answer"],  # for the quarantine file
    }


def _svamp(part: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    question = f"{row['Body'].strip()} {row['Question'].strip()}"
    return {"id": f"svamp-{row['ID']}", "question": question, "answer": re.sub(r"\.0$", "", str(row["Answer"]))}


def _commonsenseqa(part: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"csqa-{row['id']}",
        "question": row["question"],
        "answer": row["answerKey"],
        "choices": row["choices"],
    }


SETS = {
    "gsm8k": HubSet(
        "openai/gsm8k", "main", {"train": [("train", None)], "test": [("validation", 660), ("test", None)]}, _gsm8k
    ),
    "asdiv": HubSet(
        "EleutherAI/asdiv",
        None,
        {"validation": [("validation", 313), ("test", 314), ("train", None)]},
        _asdiv,
    ),
    "svamp": HubSet(
        "ChilleD/SVAMP", None, {"train": [("train", None)], "test": [("validation", 150), ("test", None)]}, _svamp
    ),
    "commonsenseqa": HubSet(
        "tau/commonsense_qa",
        None,
        {"train": [("validation", 1221), ("train", None)], "validation": [("test", None)]},
        _commonsenseqa,
    ),
}


def load(source: QuestionHub) -> Iterator[Raw]:
    """The rows of the wanted splits. Raises DataError, in one line, if the hub does not give the set."""
    hub = SETS[source.dataset]
    for part, cut in hub.parts.items():
        if not {split for split, _ in cut} & set(source.splits):
            continue
        rows = [hub.fields(part, i, row) for i, row in enumerate(_fetch(hub, part, source.revision))]
        for split, chosen in partition(rows, cut).items():
            if split in source.splits:
                for fields in chosen[: source.limit.get(split)]:
                    yield Raw(source.dataset, split, fields)


def partition(rows: Sequence[dict[str, Any]], parts: Parts) -> dict[Split, list[dict[str, Any]]]:
    """Cut rows at random (fixed seed, by id) into parts of the given sizes; each part keeps the order of `rows`.

    Rows without an answer belong to no part's size: they go to the part that takes the rest.
    """
    ids = sorted(row["id"] for row in rows if row["answer"] is not None)
    random.Random(SEED).shuffle(ids)
    member: dict[str, Split] = {}
    start = 0
    for split, size in parts:
        if size is not None:
            member.update(dict.fromkeys(ids[start : start + size], split))
            start += size
    rest = next(split for split, size in parts if size is None)
    result: dict[Split, list[dict[str, Any]]] = {split: [] for split, _ in parts}
    for row in rows:
        result[member.get(row["id"], rest)].append(row)
    return result


def _fetch(hub: HubSet, part: str, revision: str) -> Iterator[Mapping[str, Any]]:
    try:
        return iter(datasets.load_dataset(hub.path, hub.name, split=part, revision=revision))
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{hub.path} cannot be loaded from the hub ({reason}): "
            "connect, fill the cache first, or use a source of kind `file`"
        ) from error
