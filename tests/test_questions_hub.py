"""Public sets from the hub: columns, ids and the paper's split sizes, on stand-ins of the official shapes."""

from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod.config import QuestionHub
from kpod.errors import DataError
from kpod.questions.hub import load, partition
from kpod.questions.hub_sets import SETS
from kpod.questions.raw import question_row

SHAPES: dict[tuple[str, str], tuple[int, Any]] = {
    ("openai/gsm8k", "train"): (7473, lambda i: {"question": f"Sum {i}?", "answer": f"{i} is it.\n#### {i}"}),
    ("openai/gsm8k", "test"): (1319, lambda i: {"question": f"Test {i}?", "answer": f"#### {i}"}),
    ("EleutherAI/asdiv", "validation"): (
        2305,
        lambda i: {"body": f"There are {i}.", "question": "How many?",
                   "answer": f"{i} (apples)" if i < 2089 else f"{i}; 7 (apples; pears)"},
    ),
    ("ChilleD/SVAMP", "train"): (
        700, lambda i: {"ID": f"chal-{i}", "Body": f"Tim has {i}.", "Question": "How many?", "Answer": f"{i}.0"},
    ),
    ("ChilleD/SVAMP", "test"): (
        300, lambda i: {"ID": f"chal-{700 + i}", "Body": f"Tim had {i}.", "Question": "How many?", "Answer": f"{i}.0"},
    ),
    ("tau/commonsense_qa", "train"): (9741, lambda i: _choice("train", i)),
    ("tau/commonsense_qa", "validation"): (1221, lambda i: _choice("dev", i)),
}  # fmt: skip
TABLE_4 = {
    "gsm8k": (7473, 660, 659),
    "asdiv": (1462, 313, 314),
    "svamp": (700, 150, 150),
    "commonsenseqa": (8520, 1221, 1221),
}


def _choice(part: str, i: int) -> dict[str, Any]:
    choices = {"label": ["A", "B"], "text": [f"left {i}", f"right {i}"]}
    return {"id": f"{part}{i}", "question": f"{part} {i}?", "choices": choices, "answerKey": "AB"[i % 2]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(path: str, name: str | None, *, split: str, revision: str) -> list[dict[str, Any]]:
        assert revision == "abc"
        count, make = SHAPES[path, split]
        return [make(i) for i in range(count)]

    monkeypatch.setattr(datasets, "load_dataset", stand_in)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", TABLE_4)
def test_split_sizes_are_the_papers(name: Any) -> None:
    rows = [question_row(raw) for raw in load(QuestionHub(dataset=name, revision="abc")) if raw.fields["answer"]]
    sizes = tuple(sum(row["split"] == split for row in rows) for split in ("train", "validation", "test"))
    assert sizes == TABLE_4[name]
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.usefixtures("hub")
def test_rows_read_as_the_official_columns_say() -> None:
    def first(name: Any) -> dict[str, Any]:
        return question_row(next(load(QuestionHub(dataset=name, revision="abc", splits=["train"]))))

    assert first("gsm8k") == {
        "id": "gsm8k-train-0000", "dataset": "gsm8k", "split": "train", "question": "Sum 0?", "answer": "0",
        "choices": None,
    }  # fmt: skip
    assert first("svamp")["question"] == "Tim has 0. How many?"
    assert first("svamp")["answer"] == "0"
    assert first("asdiv")["answer"].isdigit()
    assert first("commonsenseqa")["choices"][0].startswith("left")
    assert first("commonsenseqa")["answer"] in "AB"


@pytest.mark.usefixtures("hub")
def test_asdiv_answers_that_are_no_single_number_are_no_answer() -> None:
    raws = list(load(QuestionHub(dataset="asdiv", revision="abc")))
    without = [raw for raw in raws if raw.fields["answer"] is None]
    assert len(raws) == 2305
    assert len(without) == 2305 - 2089
    assert all(raw.split == "train" for raw in without)  # they do not count in an evaluation split's size


@pytest.mark.usefixtures("hub")
def test_limit_and_splits() -> None:
    source = QuestionHub(dataset="svamp", revision="abc", splits=["validation"], limit={"validation": 7})
    rows = list(load(source))
    assert [raw.split for raw in rows] == ["validation"] * 7


@given(st.sets(st.text(min_size=1, max_size=5), min_size=6, max_size=30), st.randoms())
def test_a_part_does_not_depend_on_the_order_of_rows(ids: set[str], rng: Any) -> None:
    rows = [{"id": name, "answer": "1"} for name in sorted(ids)]
    mixed = rows.copy()
    rng.shuffle(mixed)
    parts: Any = [("validation", 2), ("test", 3), ("train", None)]
    cut, again = partition(rows, parts), partition(mixed, parts)
    assert [len(cut[split]) for split in ("validation", "test")] == [2, 3]
    assert sum(map(len, cut.values())) == len(ids)
    for split, chosen in cut.items():
        assert {row["id"] for row in chosen} == {row["id"] for row in again[split]}


@pytest.mark.parametrize("error", [OSError("no route\nto host"), ValueError("unknown config"), RuntimeError("")])
def test_no_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match="cannot be loaded from the hub") as caught:
        list(load(QuestionHub(dataset="gsm8k")))
    assert "\n" not in str(caught.value)
    assert "kind `file`" in str(caught.value)


def test_every_cut_takes_the_rest_once() -> None:
    for hub in SETS.values():
        for parts in hub.parts.values():
            assert sum(size is None for _, size in parts) == 1
