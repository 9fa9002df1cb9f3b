"""The task file for lm-evaluation-harness, read as the harness reads it: same prompts, same stops, same verdicts.

The harness itself is not installed here; bench/lm_eval_agreement.py runs it on a student.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from evaluate_tiny import QUESTIONS, SAID, questions
from jinja2 import Environment, StrictUndefined

from kpod import schemas
from kpod.config import Evaluate
from kpod.evaluate import answers_equal, extract_answer
from kpod.evaluate.generate import Completion
from kpod.evaluate.judge import examine
from kpod.evaluate.lm_eval import process_results, write_task
from kpod.text.prompts import answer_format, prompt
from kpod.text.stops import STOPS, first_answer

ROWS = [
    *({"id": name, "question": text} for name, text in QUESTIONS.items()),
    {"id": "option", "question": "Which?", "choices": ["cat", "dog"], "answer": "B"},
    {"id": "other", "question": "not asked", "split": "train"},
]
ASKED = [*QUESTIONS, "option"]
TOLD = {**SAID, "option": " It barks. Therefore, the answer is (B) dog."}


class _Loader(yaml.SafeLoader):
    """Resolves `!function a.b.c`, as the harness does."""


def _function(loader: yaml.Loader, node: yaml.ScalarNode) -> Any:
    module, _, name = str(loader.construct_scalar(node)).rpartition(".")
    return getattr(import_module(module), name)


_Loader.add_constructor("!function", _function)


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    folder = questions(tmp_path / "questions", ROWS)
    table = schemas.read(folder / "questions.parquet", schemas.QUESTIONS)
    write_task(tmp_path / "tasks", table, ASKED, Evaluate())
    return dict(yaml.load((tmp_path / "tasks" / "kpod.yaml").read_text(), _Loader))  # noqa: S506 - a safe loader


@pytest.fixture
def documents(task: dict[str, Any]) -> list[dict[str, Any]]:
    text = Path(task["dataset_kwargs"]["data_files"][task["test_split"]]).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_harness_gives_the_training_prompt_and_stops_where_kpod_stops(
    task: dict[str, Any], documents: list[dict[str, Any]]
) -> None:
    render = Environment(undefined=StrictUndefined, autoescape=False).from_string(task["doc_to_text"]).render  # noqa: S701
    assert [document["question_id"] for document in documents] == ASKED
    for document, row in zip(documents, ROWS, strict=False):
        assert render(**document) == prompt(row["question"], row.get("choices"))
    assert task["generation_kwargs"] == {"until": STOPS, "do_sample": False, "max_gen_toks": Evaluate().max_new_tokens}
    assert task["output_type"] == "generate_until"


def test_both_judge_the_same_predictions_alike(task: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    judge = task["process_results"]
    named = {metric["metric"] for metric in task["metric_list"]}
    verdicts = []
    for document in documents:
        said = TOLD[document["question_id"]].removesuffix("<eos>").split(STOPS[0])[0]
        row = {"id": document["question_id"], **{k: document[k] for k in ("dataset", "split", "answer", "choices")}}
        ours = examine({**row, "choices": row["choices"] or None}, Completion(said.strip(), truncated=False))
        theirs = judge(document, [said])
        assert theirs == {"accuracy": float(ours.correct), "answerless": float(ours.answer is None)}
        assert theirs.keys() == named
        verdicts.append(theirs["accuracy"])
    assert 0 < sum(verdicts) < len(verdicts)


@pytest.mark.parametrize("said", ["", "The answer is " + "7" * 10_000, "7 7 7 " * 500, "Q:", "\x00"])
def test_odd_completions_are_judged_like_ours(said: str, documents: list[dict[str, Any]], task: dict[str, Any]) -> None:
    expected = answers_equal(extract_answer(first_answer(said)), documents[0]["answer"])
    assert task["process_results"](documents[0], [said])["accuracy"] == float(expected)


@pytest.mark.parametrize(
    ("settings", "said", "right"),
    [
        ({"verifier": {"kind": "math"}}, r"It is \frac{1}{2}. Therefore, the answer is $\frac{4}{2}$.", True),
        ({"verifier": {"kind": "text"}}, "Therefore, the answer is the 2.", True),
        ({"verifier": {"kind": "python", "function": "operator:contains"}}, "", None),  # wants two arguments, not three
        ({"form": {"answer": {"kind": "boxed"}}}, r"First 7. \boxed{2}", True),
        ({"form": {"answer": {"kind": "json"}}}, 'First 7. {"answer": "2"}', True),
        ({"form": {"answer": {"kind": "template", "template": "END {answer}."}}}, "First 7. END 2. Or 9.", True),
        ({}, "Therefore, the answer is 7.", False),
    ],
)
def test_the_harness_judges_by_the_runs_verifier_and_answer_form(
    tmp_path: Path, settings: dict[str, Any], said: str, right: bool | None
) -> None:
    folder = questions(tmp_path / "questions", [{"id": "sum", "question": "1 + 1?", "answer": "2"}])
    table = schemas.read(folder / "questions.parquet", schemas.QUESTIONS)
    config = Evaluate.model_validate(settings)
    write_task(tmp_path / "tasks", table, ["sum"], config)
    document = json.loads((tmp_path / "tasks" / "questions.jsonl").read_text())
    found = process_results(document, [said])
    assert found["accuracy"] == float(bool(right))
    form = answer_format(config.form.answer.kind, config.form.answer.template)
    row = {"id": "sum", "dataset": "d", "split": "test", "question": "1 + 1?", "answer": "2", "choices": None}
    ours = examine(row, Completion(said, truncated=False), config.verifier, form)
    assert found == {"accuracy": float(ours.correct), "answerless": float(ours.answer is None)}
