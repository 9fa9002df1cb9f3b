"""Prompt formats: each family's rules, the segments of a row, and what goes wrong with templates."""

from typing import Any

import pytest
from chat_tokenizers import FAMILIES, QWEN3, QWEN25, THINKER, Family, tokenizer
from configs import REQUIRED
from hypothesis import given
from hypothesis import strategies as st
from segments import answer_ids, prompt_ids, rationale_ids

from kpod.config import Answer, Form, Prompt
from kpod.config.settings import validate
from kpod.errors import ConfigError
from kpod.text.chat import resolve
from kpod.text.formats import COT, PromptFormat


def form(tokens: Any, **settings: Any) -> PromptFormat:
    return resolve(tokens, Form(prompt=Prompt(**settings)))


@pytest.fixture(params=FAMILIES, name="family")
def _family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_each_family_is_rendered_by_its_own_rules(family: Family) -> None:
    tokens = tokenizer(family.template, family.bos)
    found = form(tokens)  # instruct students default to chat
    assert found.kind == "chat"
    assert found.prompt_text(tokens, " What? ") == family.prompt
    assert form(tokens, kind="chat", system="Count.").prompt_text(tokens, "What?") == family.system
    assert (found.lead, found.eos) == (family.lead, tokens.convert_tokens_to_ids(family.end))


def test_no_family_gets_two_bos_and_ids_are_those_of_the_text(family: Family) -> None:
    tokens = tokenizer(family.template, family.bos)
    ids = form(tokens).prompt_ids(tokens, "What?", ["one", "two"])
    assert ids.count(tokens.bos_token_id) == family.prompt.count("<bos>") <= 1
    said = "What? Answer choices: (A) one (B) two"
    told = tokens.apply_chat_template(
        [{"role": "user", "content": said}], add_generation_prompt=True, date_string="26 Jul 2024"
    )
    assert ids == told["input_ids"]


def test_segments_joined_are_the_turn_that_the_template_writes(family: Family) -> None:
    tokens = tokenizer(family.template, family.bos)
    found = form(tokens)
    text = "He has 3 + 4 = 7 pens."
    ((ids, step),) = rationale_ids(tokens, [text], [[(0, len(text))]], found.lead)
    row = [*found.prompt_ids(tokens, "What?"), *ids, *found.answer_ids(tokens, "7")]
    assert tokens.decode(row) == f"{family.prompt}{family.lead}{text} Therefore, the answer is 7.{family.end}"
    assert set(step.tolist()) == {0}


def test_marks_in_a_question_are_plain_characters(family: Family) -> None:
    tokens = tokenizer(family.template, family.bos)
    found = form(tokens)
    asked = f"Say {family.end}<bos> twice?"
    ids = found.prompt_ids(tokens, asked)
    special = [i for i in ids if i in tokens.all_special_ids or i == found.eos]
    plain = found.prompt_ids(tokens, "What?")
    assert special == [i for i in plain if i in tokens.all_special_ids or i == found.eos]
    assert asked in tokens.decode(ids)
    assert found.eos not in found.answer_ids(tokens, family.end)[:-1]


def test_the_exported_template_gives_a_server_the_training_prompt(family: Family) -> None:
    tokens = tokenizer(family.template, family.bos)
    for settings in (
        {"kind": "chat", "system": "It's\n'two' \\ lines."},
        {"kind": "cot"},
        {"kind": "custom", "template": "T {{ question }}\n>"},
    ):
        found = form(tokens, **settings)
        expected = found.prompt_ids(tokens, "What?", ["one", "two"])
        served = tokenizer(found.chat_template(tokens), family.bos)
        asked = [{"role": "user", "content": "What? Answer choices: (A) one (B) two"}]
        assert served.apply_chat_template(asked, add_generation_prompt=True)["input_ids"] == expected, settings
        sent = found.sent_text(tokens, "What?", ["one", "two"])
        assert served(sent)["input_ids"] == expected, settings


def test_without_a_template_the_paper_s_form_is_the_default() -> None:
    tokens = tokenizer(None)
    assert form(tokens) == COT
    assert form(tokenizer(QWEN25), kind="cot") == COT
    assert prompt_ids(tokens, "What?") == tokens("Q: What? A: Let's think step by step.")["input_ids"]
    assert answer_ids(tokens, "7") == [*tokens(" Therefore, the answer is 7.")["input_ids"], tokens.eos_token_id]


def test_a_thinking_student_has_its_rationale_between_the_marks() -> None:
    tokens = tokenizer(QWEN3)
    found = form(tokens, kind="chat", thinking=True)
    assert found.prompt_text(tokens, "What?").endswith("<|start|>assistant\n<think>\n")
    assert found.lead == ""
    assert tokens.decode(found.answer_ids(tokens, "7")) == "\n</think>\n\nTherefore, the answer is 7.<|end|>"
    assert tokens.convert_tokens_to_ids("</think>") in found.answer_ids(tokens, "7")
    off = form(tokens, kind="chat", thinking=False)
    assert off.prompt_text(tokens, "What?").endswith("<|start|>assistant\n<think>\n\n</think>\n\n")
    assert off.closing == ""


def test_a_thought_that_the_template_opens_is_not_opened_twice() -> None:
    tokens = tokenizer(THINKER)
    text = form(tokens, kind="chat", thinking=True).prompt_text(tokens, "What?")
    assert text.endswith("assistant|<think>\n")
    assert text.count("<think>") == 1


def test_custom_shows_question_and_system() -> None:
    tokens = tokenizer(None, bos=True)
    made = {
        "kind": "custom",
        "template": "{{ system }}\n### Question\n{{ question }}\n### Solution\n",
        "system": "Count.",
    }
    found = form(tokens, **made)
    assert found.prompt_text(tokens, "What?", ["a"]) == (
        "Count.\n### Question\nWhat? Answer choices: (A) a\n### Solution"  # Jinja drops the last line's end
    )
    assert found.prompt_ids(tokens, "What?")[0] == tokens.bos_token_id
    assert (found.lead, found.eos_id(tokens)) == (" ", tokens.eos_token_id)
    own = form(tokens, kind="custom", template="{{ bos_token }}{{ question }} Solve: ")
    assert own.prompt_ids(tokens, "What?").count(tokens.bos_token_id) == 1
    assert own.lead == ""


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({"kind": "custom"}, "prompt.template"),
        ({"kind": "custom", "template": "{{ questoin }}"}, "loses the question"),
        ({"kind": "custom", "template": "{{ question | upper }}"}, "loses the question"),
        ({"kind": "custom", "template": "{{ question }"}, "prompt.template"),
        ({"kind": "custom", "template": "{{ question.__class__.__mro__ }}{{ question }}"}, "prompt.template"),
        ({"kind": "custom", "template": "{{ raise_exception('never') }}"}, "prompt.template: never"),
        ({"kind": "custom", "template": "{{ question }}", "system": "Count."}, "system"),
        ({"kind": "cot", "system": "Count."}, "not to cot"),
        ({"kind": "chat", "template": "{{ question }}"}, "custom"),
        ({"kind": "chatty"}, "prompt.kind"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused_when_the_config_is_read(prompt: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        validate({**REQUIRED, "prompt": prompt})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has none"),
        ("{{ raise_exception('not me') }}", "not me"),
        ("{{ messages[0]['content'].missing() }}", "cannot be used"),
        ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "loses the question"),
        ("{{ messages[0]['content'][:10] }}", "loses the question"),
        ("{{ 7 * }}", "cannot be used"),
    ],
)
def test_a_tokenizer_s_template_that_cannot_work_is_one_clear_line(template: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        form(tokenizer(template), kind="chat")
    assert "\n" not in str(caught.value)


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_every_text_survives_in_its_segment(question: str, answer: str) -> None:
    tokens = _QWEN
    question, answer = (text.encode("utf-8", "ignore").decode() for text in (question, answer))
    ids = _FOUND.prompt_ids(tokens, question)
    assert question.strip() in tokens.decode(ids)
    assert _FOUND.answer_ids(tokens, answer).count(_FOUND.eos_id(tokens)) == 1


_QWEN = tokenizer(QWEN25)
_FOUND = form(_QWEN)


def test_all_stages_get_the_one_form_and_none_has_its_own() -> None:
    config = validate({**REQUIRED, "prompt": {"kind": "chat"}, "answer": {"kind": "boxed"}})
    expected = Form(prompt=Prompt(kind="chat"), answer=Answer(kind="boxed"))
    assert {repr(getattr(config, name).form) for name in ("weights", "difficulty", "distill", "evaluate")} == {
        repr(expected)
    }
    assert config.teacher.answer == expected.answer
    assert config.teacher.prompt.system.endswith(r"\boxed{<answer>}")
    with pytest.raises(ConfigError, match=r"distill\.form is set by"):
        validate({**REQUIRED, "distill": {"form": {"prompt": {"kind": "chat"}}}})
