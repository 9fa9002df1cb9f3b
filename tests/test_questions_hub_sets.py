"""Public sets beyond the paper's four, and any other by its columns: on small files of the official columns."""

import socket
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configs import pipeline
from pydantic import ValidationError

from kpod.answers.verify import verify
from kpod.config import QuestionHub, Questions
from kpod.config.questions import HUB_SETS, MATH_SETS, OPTION_SETS
from kpod.errors import DataError
from kpod.questions import stage
from kpod.questions.hub import load
from kpod.questions.hub_sets import SETS, boxed
from kpod.questions.raw import question_row

CHOICES = {"text": ["cat", "dog"], "label": ["1", "2"]}
# (set, official part) -> columns as they are published, of one row
ROWS: dict[tuple[str, str], dict[str, Any]] = {
    ("EleutherAI/hendrycks_math", "*"): {
        "problem": "What is half of $x$?", "level": "Level 1", "type": "Algebra",
        "solution": r"It is $\boxed{2}$, no: $\boxed{\frac{x}{2}}$.",
    },
    ("HuggingFaceH4/MATH-500", "test"): {
        "problem": "What is 1 + 1?", "solution": r"$\boxed{2}$", "answer": "2", "subject": "Algebra", "level": 1,
        "unique_id": "test/algebra/12.json",
    },
    ("MU-NLPC/Calc-mawps", "*"): {
        "id": "mawps__x1", "question": "How many?", "chain": "<result>7</result>", "result": "7", "result_float": 7.0,
        "equation": "x=3+4", "expression": "3+4",
    },
    ("ChilleD/MultiArith", "*"): {"question": " How many? ", "final_ans": "7"},
    ("ChilleD/StrategyQA", "*"): {
        "qid": "q1", "term": "t", "description": "d", "question": "Is it so?", "answer": True, "facts": "f",
    },
    ("allenai/ai2_arc", "*"): {"id": "Mercury_1", "question": "Which?", "choices": CHOICES, "answerKey": "2"},
    ("deepmind/aqua_rat", "*"): {
        "question": "Which?", "options": ["A)21", "B)21.5", "C) (x)"], "rationale": "r", "correct": "B",
    },
}  # fmt: skip
EXPECTED = {
    "math": {"question": "What is half of $x$?", "answer": r"\frac{x}{2}", "choices": None},
    "math-500": {"id": "math-500-test-algebra-12", "answer": "2"},
    "mawps": {"id": "mawps-mawps__x1", "answer": "7"},
    "multiarith": {"question": "How many?", "answer": "7"},
    "strategyqa": {"id": "strategyqa-q1", "answer": "yes"},
    "arc-easy": {"id": "arc-Mercury_1", "choices": ["cat", "dog"], "answer": "B"},
    "arc-challenge": {"id": "arc-Mercury_1", "choices": ["cat", "dog"], "answer": "B"},
    "aqua": {"choices": ["21", "21.5", "(x)"], "answer": "B"},
}
SIZES = {
    ("EleutherAI/hendrycks_math", "train"): 1071, ("EleutherAI/hendrycks_math", "test"): 714,
    ("HuggingFaceH4/MATH-500", "test"): 500,
    ("MU-NLPC/Calc-mawps", "train"): 1089, ("MU-NLPC/Calc-mawps", "validation"): 1040,
    ("MU-NLPC/Calc-mawps", "test"): 520,
    ("ChilleD/MultiArith", "train"): 420, ("ChilleD/MultiArith", "test"): 180,
    ("ChilleD/StrategyQA", "train"): 1603, ("ChilleD/StrategyQA", "test"): 687,
}  # fmt: skip


def _loader(folder: Path, path: str, part: str, count: int) -> datasets.Dataset:
    """What `load_dataset` gives for a file of these columns."""
    row = ROWS.get((path, part)) or ROWS[path, "*"]
    unique = [key for key in ("id", "qid", "unique_id") if key in row]
    rows = [row | {key: f"{row[key]}-{part}-{i}" if i else row[key] for key in unique} for i in range(count)]
    if part != "train":
        rows[0] |= {key: f"{row[key]}-{part}" for key in unique if key != "unique_id"}
    file = folder / f"{path.replace('/', '-')}-{part}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    asked: list[tuple[str, str | None, str]] = []

    def stand_in(path: str, name: str | None, *, split: str, revision: str) -> datasets.Dataset:
        asked.append((path, name, split))
        return _loader(tmp_path, path, split, SIZES.get((path, split), 3))

    monkeypatch.setattr(datasets, "load_dataset", stand_in)
    return asked


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_reads_as_the_official_columns_say(name: str) -> None:
    split = HUB_SETS[name][0]
    found = question_row(next(load(QuestionHub(dataset=name, splits=[split], limit={split: 1}))))
    assert {key: found[key] for key in EXPECTED[name]} == EXPECTED[name]
    assert (found["dataset"], found["split"]) == (name, split)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("math-500", (0, 0, 500)),
        ("mawps", (1089, 1040, 520)),
        ("multiarith", (420, 90, 90)),
        ("strategyqa", (1603, 343, 344)),
        ("math", (6997, 500, 4998)),
    ],
)
def test_every_split_has_its_size_and_no_id_comes_twice(
    hub: list[tuple[str, str | None, str]], name: str, sizes: tuple[int, int, int]
) -> None:
    raws = list(load(QuestionHub(dataset=name)))
    assert tuple(sum(raw.split == split for raw in raws) for split in ("train", "validation", "test")) == sizes
    assert len({raw.fields["id"] for raw in raws}) == len(raws)
    assert {asked for _, asked, _ in hub} == set(SETS[name].names)


def test_names_of_the_settings_are_those_of_the_table() -> None:
    assert set(HUB_SETS) == set(SETS)
    for name, known in SETS.items():
        assert {split for parts in known.parts.values() for split, _ in parts} == set(HUB_SETS[name])


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_a_verifier_that_tells_right_from_wrong(name: str) -> None:
    config = pipeline({"questions": {"sources": [{"kind": "hub", "dataset": name}]}})
    latex, yes = [(r"\frac{1}{2}", "0.5", r"\frac{1}{3}")], [("yes", "Yes", "no"), ("no", "No.", "yes")]
    chosen, number = [("B", "(B)", "A"), ("B", "dog", "cat")], [("7", "7.0 pens", "8")]
    kinds = {"math": latex, "math-500": latex, "strategyqa": yes, **dict.fromkeys(OPTION_SETS, chosen)}
    for gold, right, wrong in kinds.get(name, number):
        options = ["cat", "dog"] if name in OPTION_SETS else None
        for said, expected in ((right, True), (wrong, False)):
            shown = f"${said}$" if name in MATH_SETS else said
            found = verify(config.verifier, "?", f"We think. Therefore, the answer is {shown}.", gold, options)
            assert (found.correct, found.failure) == (expected, None), said


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So $\boxed{42}$.", "42"),
        (r"\boxed{1} and then \boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"$\boxed 7$", "7"),
        (r"\fbox{3}", None),
        (r"\boxed{never closed", None),
        (r"\boxed", None),
        (r"$\boxed{\text{(A)}}$", r"\text{(A)}"),
    ],
)
def test_the_answer_of_a_worked_solution_stands_in_its_last_box(solution: str, answer: str | None) -> None:
    assert boxed(solution) == answer


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    return rows


def _other(**columns: str) -> QuestionHub:
    return QuestionHub(dataset="mine", path="org/set", name="main", columns=columns, parts={"test": "validation"})


OPTIONS = {"question": "q", "answer": "a", "choices": "c"}


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"q": "One?", "a": 1}, {"question": "q", "answer": "a"}, ("One?", "1", None)),
        ({"q": "Is it?", "a": False}, {"question": "q", "answer": "a"}, ("Is it?", "no", None)),
        ({"d": {"q": "One?"}, "a.b": "x"}, {"question": "d.q", "answer": "a.b"}, ("One?", "x", None)),
        ({"q": "?!", "a": 1, "c": ["x", "y"]}, OPTIONS, ("?!", "B", ["x", "y"])),
        ({"q": "?!", "a": "y", "c": ["x", "y"]}, OPTIONS, ("?!", "B", ["x", "y"])),
        ({"q": "?!", "a": "2", "c": CHOICES}, OPTIONS, ("?!", "B", ["cat", "dog"])),
    ],
)  # fmt: skip
def test_any_set_by_its_columns(
    other: list[dict[str, Any]], row: dict[str, Any], columns: dict[str, str], expected: tuple[Any, ...]
) -> None:
    other.append(row)
    found = question_row(next(load(_other(**columns))))
    assert (found["question"], found["answer"], found["choices"]) == expected
    assert (found["id"], found["split"]) == ("mine-validation-00000", "test")


def test_a_place_beyond_the_options_is_set_aside(other: list[dict[str, Any]], tmp_path: Path) -> None:
    other += [{"q": f"Which {i}?", "a": i, "c": ["x", "y"], "n": f"n{i}"} for i in (1, 2, -1)]
    figures = stage.run({}, Questions(sources=[_other(question="q", answer="a", choices="c", id="n")]), tmp_path)
    assert (figures["questions"], figures["quarantined"]) == (1, 2)


def test_a_column_that_is_not_there_is_one_line(other: list[dict[str, Any]]) -> None:
    other.append({"q": "One?", "a": 1})
    with pytest.raises(DataError, match=r"org/set, part validation, has no column 'answer': it has q, a"):
        list(load(_other(question="q", answer="answer")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset": "gsm9k"}, "gsm9k is not known by name"),
        ({"dataset": "gsm8k", "columns": {"question": "q", "answer": "a"}}, "is known by name: path is missing"),
        ({"dataset": "mine", "path": "org/set"}, "path needs columns"),
        ({"dataset": "mine", "path": "o/s", "columns": {"question": "q", "answer": "a"}}, "path needs columns"),
        ({"dataset": "math-500", "splits": ["train"]}, "math-500 has none of the splits train"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        QuestionHub.model_validate(settings)


def test_without_a_network_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked: list[str] = []

    def nowhere(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with pytest.raises(DataError, match=r"the name huggingface\.co does not resolve") as caught:
        list(load(QuestionHub(dataset="gsm8k")))
    assert "\n" not in str(caught.value)
    assert asked == ["huggingface.co"]
    assert constants.HF_HUB_OFFLINE is False


def test_a_copy_of_strategyqa_without_its_ids_is_numbered() -> None:
    row = {"question": "Is it so?", "answer": False, "facts": ["f"]}
    assert SETS["strategyqa"].fields("test", 3, row) == {
        "id": "strategyqa-test-0003", "question": "Is it so?", "answer": "no",
    }  # fmt: skip
