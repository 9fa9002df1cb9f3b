"""How a completion of any provider is read: why it ended, thinking and answer, parts, counts, broken characters."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from configs import scripted
from hypothesis import given
from hypothesis import strategies as st
from teacher_tools import Sums, execute, interfere, rows, teacher

from kpod.config import ImportEndpoint, Teacher
from kpod.teacher.ask import Question
from kpod.teacher.finish import finish_reason, known
from kpod.teacher.http import HttpResponse, reply
from kpod.teacher.reply import BadReply, Reply, parse
from kpod.teacher.server import running
from kpod.teacher.thinking import divide
from kpod.teacher.verdict import judge
from kpod.text.hygiene import well_formed

PENS = Question("q1", "Ann has 3 pens and buys 4 more. How many pens has she?", "7", None)
SAID = "So 7 it is. The answer is 7."
THOUGHT = "Three and four."


def completion(message: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"} | choice], "usage": None, "model": "m"}


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["stop", "STOP", "eos_token", "end_turn", "EndTurn", "FinishReason.STOP", "stop_sequence", "", None], "stop"),
        (["length", "MAX_TOKENS", "max_tokens", "Max Tokens", "model_length", "FINISH_REASON_MAX_TOKENS"], "length"),
        (["max_output_tokens", "maxTokens", "model_context_window_exceeded", "ERROR_LIMIT"], "length"),
        (["SAFETY", "RECITATION", "content_filter", "content_filter: PROHIBITED_CONTENT"], "content_filter"),
        (["BLOCKLIST", "sensitive", "refusal", "guardrail_intervened", "ERROR_TOXIC"], "content_filter"),
        (["abort", "insufficient_system_resource", "cancelled", "network_error", "USER_CANCEL"], "abort"),
        (["error", "ERROR"], "error"),
        (["tool_calls", "function_call", "tool_use"], "tool_calls"),
    ],
)
def test_reasons_to_end_have_one_name_each(words: list[str | None], meaning: str) -> None:
    assert {finish_reason(word) for word in words} == {meaning}
    assert known(meaning)


@pytest.mark.parametrize(
    ("word", "drop_reason"),
    [
        ("stop", None),
        ("END_TURN", None),
        ("MAX_TOKENS", "cut-off"),
        ("model_length", "cut-off"),
        ("abort", "cut-off"),
        ("insufficient_system_resource", "cut-off"),
        ("SAFETY", "refusal"),
        ("Recitation", "refusal"),
        ("tool_calls", "unfinished"),
        ("my_Word", "unfinished"),
    ],
)
def test_what_may_be_half_is_not_kept(word: str, drop_reason: str | None) -> None:
    found = parse(completion({"content": SAID}, finish_reason=word), 40, "m")
    assert judge(found, PENS, scripted()).drop_reason == drop_reason


def test_an_unknown_word_is_warned_of_once_and_can_be_given_a_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(server: Any, body: dict[str, Any]) -> HttpResponse:
        payload = server.complete(body, "chat")
        payload["choices"][0]["finish_reason"] = "Pondered"
        return reply(payload)

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        config = teacher(url, resamples=0, keep_wrong=True, finish_reasons={"pondered": "stop"})
        metrics, _ = execute(tmp_path, config, rows(5))
        assert (metrics["kept"], "finish_reason" in capsys.readouterr().err) == (5, False)
        with pytest.raises(Exception, match=r"none of 5 is kept \{'dropped/unfinished': 5\}"):  # from the journal
            execute(tmp_path, teacher(url, resamples=0), rows(5))
    told = capsys.readouterr().err
    assert told.count("ends with finish_reason 'pondered'") == 1
    assert "teacher.finish_reasons: {pondered: stop}" in told


@pytest.mark.parametrize(
    "content",
    [
        f"<think>{THOUGHT}</think>{SAID}",
        f"<Thinking>\n{THOUGHT}\n</THINKING>\n{SAID}",
        f"{THOUGHT}</think>\n\n{SAID}",
        f"[THINK]{THOUGHT}[/THINK]{SAID}",
        f"◁think▷{THOUGHT}◁/think▷{SAID}",
        f"<seed:think>{THOUGHT}</seed:think>{SAID}",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|> <|begin_of_solution|>{SAID}<|end_of_solution|>",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{SAID}<|END_RESPONSE|>",
        f"<think>{THOUGHT}</think><answer>{SAID}</answer>",
        f"<think>{THOUGHT}</think> {SAID} </think>",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
        f"{THOUGHT}<|end|><|start|>assistant<|channel|>final <|constrain|>text<|message|>{SAID}",
        f"analysis{THOUGHT}assistantfinal{SAID}",
        f"analysis\n{THOUGHT}\nassistantfinal\n{SAID}",
        [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": SAID}],
        [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": None}, {"type": "text", "text": SAID}],
        [{"type": "reasoning", "summary": [{"type": "x", "text": THOUGHT}]}, {"type": "output_text", "text": SAID}],
        [f"<think>{THOUGHT}</think>", SAID],
    ],
)
def test_thinking_goes_apart_whatever_marks_it(content: Any) -> None:
    found = parse(completion({"content": content}), 40, "m")
    assert (found.text, found.thinking) == (SAID, THOUGHT)


@pytest.mark.parametrize(
    ("content", "thinking"),
    [
        ("<think>Three and", "Three and"),
        ("[THINK]Three and", "Three and"),
        ("<|channel|>analysis<|message|>Three and", "Three and"),
        ("analysisThree and", "Three and"),
        ([{"type": "thinking", "thinking": "Three and"}], "Three and"),
    ],
)
def test_what_ends_inside_its_thinking_says_nothing(content: Any, thinking: str) -> None:
    found = parse(completion({"content": content}, finish_reason="length"), 40, "m")
    assert (found.text, found.thinking) == ("", thinking)
    assert judge(found, PENS, scripted(thinking="use")).drop_reason == "cut-off"


@pytest.mark.parametrize(
    "text",
    [
        "analysis of both gives 7.",
        "I think 3 < 4 and 4 > 3.",
        "The assistant finally has 7.",
        "<b>7</b>",
        "A [think]er.",
    ],
)
def test_a_text_without_marks_stays_as_it_is(text: str) -> None:
    if text == "A [think]er.":
        text = "A [thinker]."
    assert divide(text) == (text, None)


@pytest.mark.parametrize(
    "message",
    [
        {"content": SAID, "reasoning_content": THOUGHT},
        {"content": SAID, "reasoning": THOUGHT},
        {"content": SAID, "thinking": THOUGHT},
        {"content": SAID, "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
        {"content": SAID, "reasoning": {"content": THOUGHT}},
    ],
)
def test_thinking_in_a_field_of_its_own(message: dict[str, Any]) -> None:
    found = parse(completion(message), 40, "m")
    assert (found.text, found.thinking) == (SAID, THOUGHT)


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": None}], "\n"])
def test_a_budget_spent_on_thinking_is_a_cut_and_no_crash(content: Any) -> None:
    found = parse(completion({"content": content, "reasoning_content": THOUGHT}, finish_reason="length"), 40, "m")
    assert (found.text, found.thinking, judge(found, PENS, scripted()).drop_reason) == ("", THOUGHT, "cut-off")


@pytest.mark.parametrize("batch", [False, True])
def test_the_reason_to_end_counts_in_batches_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool) -> None:
    def say(server: Any, body: dict[str, Any]) -> HttpResponse:
        payload = server.complete(body, "chat")
        payload["choices"][0]["finish_reason"] = (
            "MAX_TOKENS" if "is 1 plus" in body["messages"][-1]["content"] else "STOP"
        )
        return reply(payload)

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        _, found = execute(tmp_path, teacher(url, batch=batch, batch_poll_s=0.01, resamples=0), rows(3))
    assert [row["drop_reason"] for row in found] == [None, "cut-off", None]


def test_blank_lines_in_front_of_a_body_are_waiting_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def say(server: Any, body: dict[str, Any]) -> HttpResponse:
        tries.append(1)
        text = b"" if len(tries) == 1 else json.dumps(server.complete(body, "chat")).encode()
        return HttpResponse(200, b"\n\n\n" + text, {"content-type": "application/json"})

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        metrics, _ = execute(tmp_path, teacher(url), rows(1))
    assert (metrics["kept"], metrics["retries"]) == (1, 1)


def test_a_choice_that_was_blocked_before_a_word_is_a_refusal() -> None:
    for choice in (
        {"finish_reason": "content_filter: OTHER", "index": 0},
        {"finish_reason": "SAFETY", "message": None},
        {"finish_reason": "content_filter", "message": {"role": "assistant"}},
    ):
        found = parse({"choices": [choice]}, 4, "m")
        assert (found.text, found.refused) == ("", True)
    assert parse(completion({"content": [{"type": "refusal", "refusal": "No."}]}), 4, "m").refused


@pytest.mark.parametrize("wrong", [-1, 2**63, 2**70, 10**40, 1.5, float("inf"), float("nan"), True, "12", [], None])
def test_counts_that_cannot_be_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    payload = completion({"content": SAID}) | {"usage": {"prompt_tokens": wrong, "completion_tokens": 3}}
    found = parse(payload, 40, "m")
    assert (found.prompt_tokens, found.completion_tokens, found.estimated) == (10, 3, True)
    whole = completion({"content": SAID}) | {"usage": {"prompt_tokens": 9.0, "completion_tokens": 3}}
    assert parse(whole, 40, "m").prompt_tokens == 9


def test_counts_out_of_range_in_a_run_and_in_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(server: Any, body: dict[str, Any]) -> HttpResponse:
        usage = {"prompt_tokens": 2**63, "completion_tokens": 2**64}
        return reply(server.complete(body, "chat") | {"usage": usage})

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        metrics, _ = execute(tmp_path / "a", teacher(url), rows(2))
    assert metrics["rows_with_estimated_tokens"] == 2
    row = {"id": "q0000", "rationale": "None and three make 3.", "answer": "3", "prompt_tokens": 2**63}
    (tmp_path / "old.jsonl").write_text(json.dumps(row | {"completion_tokens": 2**63, "finish_reason": "STOP"}))
    config = Teacher(endpoint=ImportEndpoint(rationales=[tmp_path / "old.jsonl"]))
    metrics, found = execute(tmp_path / "b", config, rows(1))
    assert (metrics["kept"], metrics["rows_with_estimated_tokens"], found[0]["finish_reason"]) == (1, 1, "stop")


HALF = "\ud83d"


def test_half_an_emoji_is_replaced_wherever_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert well_formed(f"a{HALF}b") == "a\ufffdb"
    assert well_formed("\ud83d\ude00") == "\U0001f600"

    def say(server: Any, body: dict[str, Any]) -> HttpResponse:
        prompt = body["messages"][-1]["content"]
        payload = server.complete(body, "chat")
        message = payload["choices"][0]["message"]
        if "is 0 plus" in prompt:
            message["content"] = HALF + message["content"]
        if "is 1 plus" in prompt:
            message.update(content=None, refusal=f"No {HALF}")
        if "is 2 plus" in prompt:
            message["reasoning_content"] = f"{HALF} hm"
            payload |= {"model": f"m{HALF}"}
        if "is 3 plus" in prompt:
            payload["choices"][0]["finish_reason"] = HALF
        if "is 4 plus" in prompt:
            return reply({"error": {"message": f"flagged {HALF}", "code": HALF}}, 400)
        return reply(payload)

    interfere(monkeypatch, say)
    with running(Sums()) as url:
        config = teacher(url, resamples=0, prompt={"system": f"Be brief {HALF}"}, max_failed=1)
        _, found = execute(tmp_path / "a", config, rows(6))
    assert [row["drop_reason"] for row in found] == [None, "refusal", None, "unfinished", "failed", None]
    assert found[0]["rationale"].startswith("\ufffdBoth")
    old = {"id": f"q000{HALF}", "rationale": f"Three {HALF}.", "answer": f"3{HALF}", "teacher": HALF}
    good = {"id": "q0000", "rationale": f"None and three {HALF} make 3.", "answer": "3", "teacher": HALF}
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, (old, good))))
    config = Teacher(endpoint=ImportEndpoint(rationales=[tmp_path / "old.jsonl"]))
    metrics, found = execute(tmp_path / "b", config, rows(1))
    assert (metrics["quarantined"], found[0]["rationale"]) == (1, "None and three \ufffd make 3.")


TAGS = "<think> </think> <thinking> [THINK] [/THINK] <answer> </answer> <|begin_of_thought|> <|end_of_thought|>"
CHANNELS = "<|channel|>analysis<|message|> <|channel|>final<|message|> <|channel|> <|message|> <|end|> <|return|>"
WORDS = "<|start|>assistant analysis assistantfinal assistant final ◁think▷ <unused94> < > | 7 So"
MARKS = [*f"{TAGS} {CHANNELS} {WORDS}".split(), " ", "\n"]
marked = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=15).map("".join)


@given(marked)
def test_dividing_invents_nothing(text: str) -> None:
    said, thinking = divide(text)
    rest = iter(text)
    assert all(character in rest for character in said)  # a subsequence
    assert thinking is None or thinking.strip() == thinking != ""


@pytest.mark.parametrize(
    "unit", [*(mark for mark in MARKS if mark.strip()), "<think ", "[BEGIN FINAL RESPONSE]", " ", "\n"]
)
@pytest.mark.parametrize("before", ["", "analysis\n", "<|channel|>", "<answer>", "<think>"])
def test_a_long_text_is_divided_in_linear_time(before: str, unit: str) -> None:
    """A quadratic search would take minutes here."""
    began = time.process_time()
    divide(before + unit * (400_000 // len(unit)))
    assert time.process_time() - began < 5


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | marked | st.sampled_from([HALF, "STOP", "error", "odd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("type", "text", "thinking", "content", "summary", "refusal", "thought", "reasoning"), values
    ),
)
messages = st.fixed_dictionaries(
    {},
    optional={"content": values | st.lists(parts, max_size=3) | parts, "refusal": values}
    | {name: values | st.lists(parts, max_size=2) for name in ("reasoning_content", "reasoning", "reasoning_details")},
)
choices = st.fixed_dictionaries(
    {}, optional={"message": messages | values, "text": values, "finish_reason": values, "error": values}
)
usages = st.fixed_dictionaries({}, optional={"prompt_tokens": values, "completion_tokens": values})
payloads = values | st.fixed_dictionaries(
    {"choices": st.lists(choices, max_size=2) | values}, optional={"usage": usages | values, "model": values}
)


@given(payloads, st.integers(0, 10_000))
def test_any_body_is_a_reply_that_can_be_kept_or_a_bad_one(payload: Any, size: int) -> None:
    try:
        found = parse(payload, size, "m")
    except BadReply:
        return
    assert Reply(**json.loads(json.dumps(found.record(), ensure_ascii=False).encode())) == found
    assert 0 <= found.prompt_tokens < 2**31
    assert 0 <= found.completion_tokens < 2**63
    verdict = judge(found, PENS, scripted(thinking="use"))
    assert verdict.kept or verdict.drop_reason
