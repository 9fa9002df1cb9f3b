"""Rationales as other projects write them, matched with the questions by their texts."""

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from teacher_tools import execute, rows

from kpod.config import Columns, ImportEndpoint, QuestionFile, Questions, Teacher
from kpod.errors import ConfigError, DataError
from kpod.questions import stage as questions
from kpod.teacher import imports
from kpod.teacher.ask import Question
from kpod.teacher.formats import FORMATS, Completion
from kpod.teacher.matching import Matcher

ASKED = "How much is 1 plus 4?"  # question q0001, whose answer is 5
BOXED = "Return your final response within \\boxed{}. "
THOUGHT, SAID = "One and four are put together.", "That makes five. The answer is 5."
TRACE = (
    f"<|begin_of_thought|>\n\n{THOUGHT}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{SAID}\n\n<|end_of_solution|>"
)
COMPLETION = {"choices": [{"message": {"content": SAID, "reasoning_content": THOUGHT}, "finish_reason": "stop"}]}
TURN = [{"role": "user", "content": ASKED}]
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("openthoughts", {"system": "Think.", "conversations": [
        {"from": "user", "value": BOXED + ASKED}, {"from": "assistant", "value": TRACE}]}),
    ("openthoughts", {"conversations": [
        {"from": "human", "value": ASKED}, {"from": "gpt", "value": f"<think>{THOUGHT}</think>{SAID}"}]}),
    ("openthoughts", {"problem": ASKED, "deepseek_reasoning": THOUGHT, "deepseek_solution": SAID, "domain": "math"}),
    ("openr1", {"problem": ASKED, "answer": "5", "generations": [f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"],
                "is_reasoning_complete": [True], "finish_reasons": None, "uuid": "u"}),
    ("distilabel", {"instruction": ASKED, "generation": f"<think>{THOUGHT}</think>{SAID}", "model_name": "m"}),
    ("curator", {"response_message": SAID, "raw_response": COMPLETION, "finish_reason": "stop",
                 "generic_request": {"model": "m", "messages": TURN, "original_row": {"x": 1}}}),
    ("curator", {"response_message": f"<think>{THOUGHT}</think>{SAID}", "raw_response": None, "finish_reason": "stop",
                 "generic_request": {"model": "m", "messages": TURN, "original_row": {"x": 1}}}),
    ("curator", {"question": ASKED, "reasoning": THOUGHT, "solution": SAID}),
    ("messages", {"messages": [{"role": "system", "content": "Think."}, *TURN,
                               {"role": "assistant", "content": SAID, "reasoning_content": THOUGHT}]}),
    ("messages", {"prompt": TURN, "completion": [{"role": "assistant", "content": f"<think>{THOUGHT}</think>{SAID}"}]}),
    ("messages", {"prompt": f"{ASKED}\nReason step by step.", "completion": f"[THINK]{THOUGHT}[/THINK]{SAID}"}),
]  # fmt: skip


def _import(tmp_path: Path, form: str, told: list[Any], **settings: Any) -> tuple[dict[str, float], list[Any]]:
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in told))
    config = Teacher(endpoint=ImportEndpoint(rationales=[file], format=form), **settings)
    return execute(tmp_path, config, rows(3))


@pytest.mark.parametrize("thinking", ["drop", "use"])
@pytest.mark.parametrize(("form", "row"), ROWS)
def test_a_row_of_every_format(tmp_path: Path, form: str, row: dict[str, Any], thinking: str) -> None:
    metrics, [found] = _import(tmp_path, form, [row], thinking=thinking)
    assert found["rationale"] == (THOUGHT if thinking == "use" else "That makes five.")
    assert (found["question_id"], found["sample"], found["answer"], found["kept"]) == ("q0001", 0, "5", True)
    assert metrics["quarantined"] == 0


@pytest.mark.parametrize(("form", "row"), ROWS)
def test_parquet_reads_as_jsonl_does(tmp_path: Path, form: str, row: dict[str, Any]) -> None:
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "old.parquet")
    config = Teacher(endpoint=ImportEndpoint(rationales=[tmp_path / "old.parquet"], format=form))
    _, [found] = execute(tmp_path, config, rows(3))
    assert (found["question_id"], found["rationale"]) == ("q0001", "That makes five.")


def test_several_generations_are_samples_and_the_filters_are_the_same(tmp_path: Path) -> None:
    row = {
        "problem": ASKED,
        "generations": [SAID, "It is six. The answer is 6.", SAID, "I'm sorry, I cannot help.", "That makes"],
        "is_reasoning_complete": [True, True, False, True, True],
        "finish_reasons": ["stop", "stop", "stop", "stop", "length"],
    }
    _, found = _import(tmp_path, "openr1", [row, row])
    reasons = [None, "wrong-answer", "cut-off", "refusal", "cut-off"]
    assert [(one["sample"], one["drop_reason"]) for one in found] == list(enumerate(reasons * 2))


def test_a_list_of_generations_with_a_model_each(tmp_path: Path) -> None:
    row = {"instruction": ASKED, "generations": [SAID, None, SAID], "model_name": ["a", "b", "c"]}
    _, found = _import(tmp_path, "distilabel", [row])
    assert [(one["sample"], one["model"]) for one in found] == [(0, "a"), (1, "c")]
    counted = {"statistics_text_generation_0": {"input_tokens": 12, "output_tokens": 34}}
    _, found = _import(
        tmp_path, "distilabel", [{"instruction": ASKED, "generation": SAID, "distilabel_metadata": counted}]
    )
    assert (found[0]["prompt_tokens"], found[0]["completion_tokens"]) == (12, 34)


def test_what_fits_no_question_is_counted_and_what_cannot_be_read_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]}
    told = [
        turn,
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"messages": [*turn["messages"], *turn["messages"]]},
        {"messages": turn["messages"][:1]},
        {"messages": "none"},
        {"messages": [{"role": "assistant", "content": SAID}]},
        "no json",
        {
            "question_id": "q0002",
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}],
        },
    ]
    metrics, found = _import(tmp_path, "messages", told)
    assert [(row["question_id"], row["drop_reason"]) for row in found] == [("q0001", None), ("q0002", "wrong-answer")]
    assert metrics["quarantined"] == 5
    assert "1 completions belong to no training question" in capsys.readouterr().err
    aside = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [row["row"] for row in aside] == ["3", "4", "5", "6", "7"]


def test_nothing_that_fits_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 0 is kept"):
        _import(tmp_path, "openr1", [{"problem": "Why?", "generations": ["So."]}])


@pytest.mark.parametrize(
    "prompt",
    [
        ASKED,
        f"  {ASKED.upper()}\n",
        f"{BOXED}{ASKED}",
        f"{ASKED} Please reason step by step, and put your answer within \\boxed{{}}.",
        f"Think first.\n\nQuestion:\n{ASKED}\n\nAnswer:",
        "Read this. " * 100 + ASKED,
    ],
)
def test_a_question_is_found_between_instructions(prompt: str) -> None:
    known = [Question(row["id"], row["question"], row["answer"], None) for row in rows(3)]
    assert [one.id for one in Matcher(known).find(prompt)] == ["q0001"]


def test_files_are_read_row_by_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken: list[int] = []

    def endless(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in count():
            taken.append(number)
            yield number, {"prompt": ASKED, "completion": SAID}

    monkeypatch.setattr(imports.rows, "read", endless)
    endpoint = ImportEndpoint(rationales=[tmp_path], format="messages")
    asked = [Question("q0001", ASKED, "5", None)]
    found = imports.replies(endpoint, asked, Teacher(endpoint=endpoint), [])
    assert [sample for _, sample, _ in islice(found, 3)] == [0, 1, 2]
    assert taken == [0, 1, 2]


def test_questions_of_one_text_share_their_completions(tmp_path: Path) -> None:
    twins = [{**rows(1)[0], "id": name} for name in "ab"]
    file = tmp_path / "old.jsonl"
    told = {"problem": twins[0]["question"], "generations": ["None and three make 3. The answer is 3."]}
    file.write_text(json.dumps(told))
    config = Teacher(endpoint=ImportEndpoint(rationales=[file], format="openr1"))
    _, found = execute(tmp_path, config, twins)
    assert [(row["question_id"], row["sample"], row["kept"]) for row in found] == [("a", 0, True), ("b", 0, True)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["user", "assistant", "gpt"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "messages", "choices"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
COLUMNS = "conversations problem deepseek_reasoning deepseek_solution generations is_reasoning_complete finish_reasons"
MORE = "instruction generation model_name distilabel_metadata generic_request raw_response response_message messages"
names = f"{COLUMNS} {MORE} prompt completion question reasoning".split()


@given(st.dictionaries(st.sampled_from(names), values, max_size=6), st.sampled_from(sorted(FORMATS)))
def test_any_row_gives_completions_or_a_reason(row: dict[str, Any], form: str) -> None:
    found: list[Completion] = []
    try:
        found = list(FORMATS[form](row))
    except ValueError as error:
        assert str(error)  # noqa: PT017
    assert all(isinstance(one.question, str) and one.payload for one in found)


def test_a_file_of_another_project_gives_the_questions_too(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    told = [
        {"problem": ASKED, "answer": "5", "uuid": "u1"},
        {"problem": "Another?"},
        {"problem": "A third?", "answer": 6},
    ]
    file.write_text("\n".join(map(json.dumps, told)))
    columns = Columns(question="problem", answer="answer")
    source = QuestionFile(dataset="mine", files={"train": file}, columns=columns, limit={"train": 2})
    figures = questions.run({}, Questions(sources=[source]), tmp_path)
    assert (figures["questions"], figures["quarantined"]) == (1, 1)
    found = pq.read_table(tmp_path / "questions.parquet").to_pylist()
    assert (found[0]["id"], found[0]["answer"]) == ("mine-train-00001", "5")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    from kpod.config import Pipeline
    from kpod.config.settings import checked

    tree = {"teacher": {"endpoint": {"kind": "import", "rationales": ["a.jsonl"], "format": "alpaca"}}}
    with pytest.raises(ConfigError, match=r"teacher\.endpoint\.format"):
        checked(tree, Pipeline)
