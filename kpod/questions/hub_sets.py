"""The public sets that are known by name: their place on the hub, their splits, and how a row is read.

| set | official parts | train / validation / test |
|---|---|---|
| GSM8K | train 7473, test 1319 | 7473 / 660 / 659: the official test set halved |
| ASDiv | 2305 in one part | 1462 / 313 / 314 of the questions with a single number as the answer |
| SVAMP | train 700, test 300 | 700 / 150 / 150: the official test set halved |
| CommonsenseQA | train 9741, validation 1221 | 8520 / 1221 / 1221: the test is the official validation |
| MATH | train 7500, test 5000 | 7000 / 500 / 5000: the validation is cut from the training part |
| MATH-500 | test 500 | - / - / 500 |
| MAWPS | train 1089, validation 1040, test 520 | the official ones, without near-copies between them |
| MultiArith | train 420, test 180 | 420 / 90 / 90: the official test set halved |
| StrategyQA | train 1603, test 687 | 1603 / 343 / 344: the official test set halved |
| ARC (easy, challenge), AQuA | train, validation, test | the official ones |

The first four are the paper's (Table 4, sizes from MCC-KD). A part that is not official is drawn with a fixed seed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpod.answers.quantities import parse
from kpod.config import Columns
from kpod.fields import Split

Parts = Sequence[tuple[Split, int | None]]  # None: all that the other parts leave
Row = Mapping[str, Any]
Fields = Callable[[str, int, Row], dict[str, Any]]  # part, index in it, row -> id, question, answer, choices
OFFICIAL: dict[str, Parts] = {
    "train": [("train", None)],
    "validation": [("validation", None)],
    "test": [("test", None)],
}
MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


@dataclass(frozen=True)
class HubSet:
    """A public set."""

    path: str  # on the hub
    names: tuple[str | None, ...]  # its configurations; all are loaded
    parts: Mapping[str, Parts]  # official part -> the splits that it is cut into
    fields: Fields  # reads a row


def _gsm8k(part: str, index: int, row: Row) -> dict[str, Any]:
    return {"id": f"gsm8k-{part}-{index:04d}", "question": row["question"], "answer": row["answer"]}


def _asdiv(part: str, index: int, row: Row) -> dict[str, Any]:
    answer = re.sub(r"\s*\([^)]*\)\s*$", "", str(row["answer"]))  # "9 (apples)"
    return {
        "id": f"asdiv-nluds-{index + 1:04d}",
        "question": f"{row['body'].strip()} {row['question'].strip()}",
        "answer": answer if parse(answer) else None,
        "given": row["answer"],  # for the quarantine file
    }


def _svamp(part: str, index: int, row: Row) -> dict[str, Any]:
    question = f"{row['Body'].strip()} {row['Question'].strip()}"
    return {"id": f"svamp-{row['ID']}", "question": question, "answer": re.sub(r"\.0$", "", str(row["Answer"]))}


def _math(part: str, index: int, row: Row) -> dict[str, Any]:
    return {"id": f"math-{part}-{index:04d}", "question": row["problem"], "answer": boxed(row["solution"])}


def _math_500(part: str, index: int, row: Row) -> dict[str, Any]:
    name = re.sub(r"\W+", "-", str(row["unique_id"]).removesuffix(".json")).strip("-")
    return {"id": f"math-500-{name}", "question": row["problem"], "answer": row["answer"]}


def _multiarith(part: str, index: int, row: Row) -> dict[str, Any]:
    return {"id": f"multiarith-{part}-{index:04d}", "question": row["question"], "answer": row["final_ans"]}


def _strategyqa(part: str, index: int, row: Row) -> dict[str, Any]:
    name = row.get("qid") or f"{part}-{index:04d}"  # copies of the set leave it out
    return {"id": f"strategyqa-{name}", "question": row["question"], "answer": yes_or_no(row["answer"])}


def _aqua(part: str, index: int, row: Row) -> dict[str, Any]:
    options = [str(option).partition(")") for option in row["options"]]  # "A)21"
    choices = {label.strip().strip("("): text.strip() for label, _, text in options}
    return {
        "id": f"aqua-{part}-{index:05d}",
        "question": row["question"],
        "answer": row["correct"],
        "choices": choices,
    }


def boxed(solution: str) -> str | None:
    """The content of the last `\\boxed{...}` of a worked solution (`\\boxed 7` too), or None."""
    begin = solution.rfind("\\boxed")
    if begin < 0:
        return None
    rest = solution[begin + len("\\boxed") :].lstrip()
    if not rest.startswith("{"):
        match = re.match(r"[^\s$.,]+", rest)
        return match[0] if match else None
    depth = 0
    for place, sign in enumerate(rest):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return rest[1:place].strip()
    return None


def yes_or_no(value: Any) -> Any:
    """ "yes" or "no" for a bool; any other value as it is."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def fields_of_columns(dataset: str, columns: Columns) -> Fields:
    """A function that reads rows with these columns; it raises KeyError for a column that a row lacks."""

    def fields(part: str, index: int, row: Row) -> dict[str, Any]:
        name = at(row, columns.id) if columns.id else f"{part}-{index:05d}"
        values = {
            "id": f"{dataset}-{name}",
            "question": at(row, columns.question),
            "answer": yes_or_no(at(row, columns.answer)),
        }
        if columns.choices:
            values["choices"] = at(row, columns.choices)
            if isinstance(values["answer"], int) and isinstance(values["choices"], list):
                place = values["answer"]
                values["answer"] = chr(ord("A") + place) if 0 <= place < len(values["choices"]) else None
        return values

    return fields


def at(row: Any, column: str) -> Any:
    """The value of a column; a dot leads into a nested one. Raises KeyError if there is none."""
    if isinstance(row, Mapping) and column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    if not dot or not isinstance(row, Mapping):
        raise KeyError(column)
    return at(row[first], rest)


LETTERED = Columns(id="id", question="question", answer="answerKey", choices="choices")  # of CommonsenseQA and ARC
MAWPS = Columns(id="id", question="question", answer="result")


def _split_in_half(validation: int) -> dict[str, Parts]:
    return {"train": [("train", None)], "test": [("validation", validation), ("test", None)]}


SETS = {
    "gsm8k": HubSet("openai/gsm8k", ("main",), _split_in_half(660), _gsm8k),
    "asdiv": HubSet(
        "EleutherAI/asdiv", (None,), {"validation": [("validation", 313), ("test", 314), ("train", None)]}, _asdiv
    ),
    "svamp": HubSet("ChilleD/SVAMP", (None,), _split_in_half(150), _svamp),
    "commonsenseqa": HubSet(
        "tau/commonsense_qa",
        (None,),
        {"train": [("validation", 1221), ("train", None)], "validation": [("test", None)]},
        fields_of_columns("csqa", LETTERED),
    ),
    "math": HubSet(
        "EleutherAI/hendrycks_math",
        MATH_SUBJECTS,
        {"train": [("validation", 500), ("train", None)], "test": [("test", None)]},
        _math,
    ),
    "math-500": HubSet("HuggingFaceH4/MATH-500", (None,), {"test": [("test", None)]}, _math_500),
    "mawps": HubSet("MU-NLPC/Calc-mawps", ("default",), OFFICIAL, fields_of_columns("mawps", MAWPS)),
    "multiarith": HubSet("ChilleD/MultiArith", (None,), _split_in_half(90), _multiarith),
    "strategyqa": HubSet("ChilleD/StrategyQA", (None,), _split_in_half(343), _strategyqa),
    "arc-easy": HubSet("allenai/ai2_arc", ("ARC-Easy",), OFFICIAL, fields_of_columns("arc", LETTERED)),
    "arc-challenge": HubSet("allenai/ai2_arc", ("ARC-Challenge",), OFFICIAL, fields_of_columns("arc", LETTERED)),
    "aqua": HubSet("deepmind/aqua_rat", ("raw",), OFFICIAL, _aqua),
}
