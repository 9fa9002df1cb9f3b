"""Answer formats: stated, read, stripped and asked for in one form."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from configs import REQUIRED, pipeline
from hypothesis import given
from hypothesis import strategies as st

from kpod.answers.closings import _BEGINS, _may_state
from kpod.answers.extract import extract_answer
from kpod.answers.formats import as_sentence, states_answer, strip_statement
from kpod.config import ScriptedEndpoint
from kpod.config.settings import validate
from kpod.errors import ConfigError, TeacherError
from kpod.questions import stage as questions_stage
from kpod.teacher import stage as teacher_stage
from kpod.teacher.server import running
from kpod.text.prompts import SENTENCE, AnswerFormat, answer_format

OWN = "Result => {answer} <="
FORMS = {
    **{kind: answer_format(kind) for kind in ("sentence", "boxed", "hashes", "json")},
    "template": answer_format("template", OWN),
}


def read_answer(form: AnswerFormat, text: str, choices: list[str] | None = None) -> str | None:
    return extract_answer(as_sentence(form, text), choices)


RATIONALE = "Tom has 3 pens. He buys 4 more, so 3 + 4 = 7."


@pytest.fixture(params=FORMS, name="form")
def _form(request: pytest.FixtureRequest) -> AnswerFormat:
    return FORMS[request.param]


def test_statements_are_what_the_setting_says() -> None:
    assert {kind: form.statement(" 7 ") for kind, form in FORMS.items()} == {
        "sentence": " Therefore, the answer is 7.",
        "boxed": r" \boxed{7}",
        "hashes": "\n#### 7",
        "json": '\n{"answer": "7"}',
        "template": " Result => 7 <=",
    }
    assert FORMS["json"].statement('say "7"') == '\n{"answer": "say \\"7\\""}'
    assert SENTENCE.instruction == "Close with the sentence: The answer is <answer>."


@pytest.mark.parametrize(("answer", "choices"), [("7", None), ("-3.5", None), ("1/2", None), ("B", ["12", "7"])])
def test_what_is_stated_is_read_and_stripped(form: AnswerFormat, answer: str, choices: list[str] | None) -> None:
    told = RATIONALE + form.statement(answer)
    assert read_answer(form, told, choices) == answer
    assert states_answer(form, told)
    assert not states_answer(form, RATIONALE)
    assert strip_statement(form, told) == RATIONALE
    assert strip_statement(form, f"{told}\n\nI hope this helps!") == RATIONALE


@given(st.integers(-(10**6), 10**6))
def test_every_number_comes_back(number: int) -> None:
    for form in FORMS.values():
        told = RATIONALE + form.statement(str(number))
        assert read_answer(form, told) == str(number)
        assert strip_statement(form, told) == RATIONALE


@given(st.text())
def test_no_text_is_lost_or_raises(text: str) -> None:
    for form in FORMS.values():
        assert text.startswith(strip_statement(form, text))
        read_answer(form, text)
        states_answer(form, text)


def test_the_last_statement_counts_and_other_forms_are_still_read(form: AnswerFormat) -> None:
    twice = f"At first{form.statement('5')} No.\n{RATIONALE}{form.statement('7')}"
    assert read_answer(form, twice) == "7"
    assert read_answer(form, f"{RATIONALE} The answer is 7.") == "7"


def test_what_is_thought_is_not_the_answer() -> None:
    assert read_answer(SENTENCE, "The answer is 5? No.\n</think>\n\nThe answer is 7.") == "7"
    assert read_answer(SENTENCE, "Therefore, the answer is 7.</think>") == "7"


@pytest.mark.parametrize(
    "told",
    [
        '{"answer": 7}',
        '{"answer":"7","unit":"pens"}',
        '```json\n{"answer": "7"}\n```',
        '{ "unit": "pens", "answer": "7" }',
    ],
)
def test_json_as_teachers_write_it(told: str) -> None:
    form = FORMS["json"]
    assert read_answer(form, f"{RATIONALE}\n{told}") == "7"
    assert strip_statement(form, f"{RATIONALE}\n{told}") == RATIONALE


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"kind": "template"}, "answer.template"),
        ({"kind": "template", "template": "{answer}"}, "words in front"),
        ({"kind": "template", "template": "So: X"}, "once"),
        ({"kind": "template", "template": "So {answer} = {answer}"}, "once"),
        ({"kind": "boxed", "template": "So {answer}"}, "give both or neither"),
        ({"kind": "box"}, "answer.kind"),
    ],
)
def test_an_answer_form_that_cannot_work_is_refused(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate({**REQUIRED, "answer": answer})


def _ask(tmp_path: Path, count: int) -> tuple[dict[str, float] | TeacherError, int]:
    """What the stage says of a teacher that never writes a box, and how many requests it took."""
    sources = [{"kind": "wordproblems", "train": count, "validation": 0, "test": 0, "longer": 0}]
    asked, out = tmp_path / "questions", tmp_path / "rationales"
    for folder in (asked, out):
        folder.mkdir()
    with running(ScriptedEndpoint()) as url:
        endpoint = {"kind": "openai", "base_url": url, "api_key_env": None}
        teacher = {"endpoint": endpoint, "model": "kpod-teacher", "concurrency": 4}
        config = pipeline({"questions": {"sources": sources}, "teacher": teacher, "answer": {"kind": "boxed"}})
        questions_stage.run({}, config.questions, asked)
        try:
            said: dict[str, float] | TeacherError = teacher_stage.run({"questions": asked}, config.teacher, out)
        except TeacherError as error:
            said = error
        return said, httpx2.get(url.replace("/v1", "/stats")).json()["received"]


def test_a_closing_that_never_comes_stops_the_run_early(tmp_path: Path) -> None:
    said, requests = _ask(tmp_path, 200)
    assert isinstance(said, TeacherError)
    assert "none of the teacher's first 50 answers" in str(said)
    assert "boxed" in str(said)
    assert 50 <= requests < 60  # what was in flight is still taken


def test_fewer_answers_tell_nothing(tmp_path: Path) -> None:
    said, _ = _ask(tmp_path, 20)
    assert isinstance(said, dict)
    assert said["kept"] > 10  # their answers can be read all the same


STATED = st.sampled_from(
    [
        *("the", "our", "final", "correct", "answer", "Ans", "is", ":", "=", "option", "choice", "solution", "letter"),
        *("####", "\\boxed{7}", "<final>", "<answer>", "7", "(B)", "I choose", "we pick", "select", "go with", "right"),
        *(
            "La respuesta es",
            "a resposta é",
            "la risposta",
            "die Antwort ist",
            "lautet die Lösung",
            "答案是",
            "so",
            ".",
        ),
        *("\n", "as", "comes out to be", "can be found", "Seven", "would be"),
    ]
)


@given(st.lists(STATED, max_size=8).map(" ".join))
def test_a_text_without_the_words_of_a_statement_is_not_searched(text: str) -> None:
    assert _may_state(text) or not _BEGINS.search(text)
