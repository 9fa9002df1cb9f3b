"""What is asked, how a reply is read, and what becomes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from configs import scripted

from kpod.config import OpenAIEndpoint, Teacher, TeacherPrompt
from kpod.errors import ConfigError
from kpod.teacher.ask import Question, RequestBuilder
from kpod.teacher.gibberish import gibberish
from kpod.teacher.reply import BadReply, Reply, parse
from kpod.teacher.verdict import judge, source

PENS = Question("q1", "Ann has 3 pens and buys 4 more. How many pens has she?", "7", None)
SKY = Question("q2", "What is above us?", "B", ["the floor", "the sky"])


def reply(text: str, **changes: Any) -> Reply:
    values = {
        "text": text,
        "thinking": None,
        "refused": False,
        "finish_reason": "stop",
        "prompt_tokens": 9,
        "completion_tokens": 9,
        "estimated": False,
        "model": "m",
    }
    return Reply(**(values | changes))


@pytest.mark.parametrize(
    ("given_reply", "question", "reason"),
    [
        (reply("She has 3 + 4 = 7 pens. The answer is 7."), PENS, None),
        (reply("She has 3 + 4 = 8 pens. The answer is 8."), PENS, "wrong-answer"),
        (reply("I think about pens all day long."), PENS, "no-answer"),
        (reply("She has 3 + 4 =", finish_reason="length"), PENS, "cut-off"),
        (reply("The answer is 7."), PENS, "no-rationale"),
        (reply("Pens and pens. " * 400 + "The answer is 7."), PENS, "too-long"),
        (reply("I'm sorry, but I cannot help with that."), PENS, "refusal"),
        (reply("Not today.", refused=True), PENS, "refusal"),
        (reply("Ah, " + "she has seven pens because " * 60 + ". The answer is 7."), PENS, "gibberish"),
        (reply("It is blue up there. The answer is (B)."), SKY, None),
        (reply("It is hard down here. The answer is (A)."), SKY, "wrong-answer"),
    ],
)
def test_each_reason_to_drop(given_reply: Reply, question: Question, reason: str | None) -> None:
    verdict = judge(given_reply, question, scripted())
    assert verdict.drop_reason == reason
    assert verdict.kept == (reason is None)


def test_wrong_answers_are_kept_on_demand_and_stay_marked() -> None:
    verdict = judge(reply("She has 3 + 4 = 8 pens. The answer is 8."), PENS, scripted(keep_wrong=True))
    assert (verdict.kept, verdict.correct, verdict.answer) == (True, False, "8")


def test_word_salad_is_found_and_plain_texts_are_not() -> None:
    sound = (
        "She has 3 pens at first, and then she buys 4 more of them, so we add the two numbers to get 3 + 4 = 7 pens."
    )
    salad = (
        " mostly lantern purple seldom gravel thinking rivers bolt candle gentle marble orchard silver window table"
        " pepper morning rocket clever garden velvet thunder basket yellow monkey planet winter dragon"
    )
    german = (
        "Sie hatte zuerst drei Stifte, dann kaufte sie vier weitere dazu, also besitzt sie nun zusammen sieben Stifte."
    )
    assert gibberish(sound + salad)
    assert not gibberish(sound)
    assert not gibberish(german * 2)


SOUND = "She has 3 pens at first, and then she buys 4 more of them, so we add the two numbers to get 3 + 4 = 7 pens."
TEAMS = [
    name + ending
    for name in ["Lion", "Tiger", "Bear", "Eagle", "Hawk", "Wolve", "Shark"]
    for ending in ("s", "ers", "men", "ix")
]


@pytest.mark.parametrize(
    "text",
    [
        f"{SOUND} The teams are {', '.join(TEAMS)}.",
        f"{SOUND} The teams are {' '.join(TEAMS)}.",
        f"{SOUND} The teams are {', '.join(f'Red {team.lower()}' for team in TEAMS)}.",
        SOUND + "".join(f"\n{i}. {team.lower()}" for i, team in enumerate(TEAMS)),
        f"{' + '.join(['1'] * 120)} = 120.",
        f"{SOUND} {' + '.join(['x'] * 120)} = 120 x.",
        SOUND + "".join(f"\nDay {i}: 2 cookies." for i in range(80)),
        SOUND + "".join(f"\n{i} + 1 = {i + 1}" for i in range(100)),
        f"1 / 3 = 0.{'3' * 900}",
    ],
)
def test_lists_sums_and_tables_are_no_gibberish(text: str) -> None:
    assert not gibberish(text)


@pytest.mark.parametrize(
    "text", [f"{SOUND} " * 20, f"{SOUND} {'very ' * 300}", "ha" * 300, SOUND + " So it is 7." * 80]
)
def test_loops_are_found(text: str) -> None:
    assert gibberish(text)


def test_thinking_is_found_in_fields_and_tags() -> None:
    def completion(**message: Any) -> dict[str, Any]:
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": None, "model": "m"}

    said = "So 7 it is. The answer is 7."
    for message in (
        {"content": said, "reasoning_content": "Three and four."},
        {"content": said, "reasoning": "Three and four."},
        {"content": f"<think>Three and four.</think>\n{said}"},
        {"content": f"Three and four.</think>{said}"},
    ):
        found = parse(completion(**message), 40, "m")
        assert (found.text, found.thinking) == (said, "Three and four.")
        verdict = judge(found, PENS, scripted(thinking="use"))
        assert source(found, scripted(thinking="use"))[: verdict.length] == "Three and four."
        assert source(found, scripted())[: judge(found, PENS, scripted()).length] == "So 7 it is."
    unfinished = parse(completion(content="<think>Three and"), 40, "m")
    assert (unfinished.text, unfinished.thinking) == ("", "Three and")


def test_tokens_are_estimated_and_marked_when_the_server_does_not_count() -> None:
    counted = {"choices": [{"text": "x" * 40}], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    assert parse(counted, 100, "m").estimated is False
    found = parse({"choices": [{"text": "x" * 40}]}, 100, "m")
    assert (found.prompt_tokens, found.completion_tokens, found.estimated, found.model) == (25, 10, True, "m")


def test_a_refusal_field_is_a_refusal() -> None:
    found = parse({"choices": [{"message": {"content": None, "refusal": "No."}}]}, 4, "m")
    assert (found.text, found.refused) == ("No.", True)


@pytest.mark.parametrize("body", [None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"text": 3}]}, "x"])
def test_bodies_that_are_no_completion(body: Any) -> None:
    with pytest.raises(BadReply):
        parse(body, 4, "m")


def key(config: Teacher, question: Question = PENS, sample: int = 0) -> str:
    return RequestBuilder(config).ask(question, sample).key


def test_the_key_covers_what_changes_the_answer_and_nothing_else() -> None:
    base = key(scripted())
    same = [
        scripted(endpoint=OpenAIEndpoint(base_url="http://127.0.0.1:1/v1"), model="scripted"),
        scripted(concurrency=3, timeout_s=1, max_retries=0, samples=5, keep_wrong=True),
        scripted(max_tokens_field="max_completion_tokens"),
    ]
    assert {key(config) for config in same} == {base}
    other = [
        key(scripted(model="another")),
        key(scripted(temperature=0.2)),
        key(scripted(temperature=None)),
        key(scripted(top_p=0.5)),
        key(scripted(max_tokens=100)),
        key(scripted(extra_body={"repeat_penalty": 1.1})),
        key(scripted(prompt=TeacherPrompt(system=None))),
        key(scripted(prompt=TeacherPrompt(api="completion"))),
        key(scripted(), sample=1),
        key(scripted(), SKY),
        RequestBuilder(scripted(), "another teacher").ask(PENS, 0).key,
    ]
    assert len({base, *other}) == len(other) + 1


def test_prompts_of_both_apis_with_examples(tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text(json.dumps({"question": "1 + 1?", "rationale": "One and one.", "answer": "2"}) + "\n")
    chat = RequestBuilder(scripted(prompt=TeacherPrompt(system="Be brief.", examples=examples))).ask(PENS, 2)
    assert [m["role"] for m in chat.body["messages"]] == ["system", "user", "assistant", "user"]
    assert chat.body["messages"][2]["content"] == "One and one. The answer is 2."
    assert chat.body["seed"] == 2
    assert PENS.question in chat.body["messages"][3]["content"]
    plain = RequestBuilder(scripted(prompt=TeacherPrompt(api="completion", examples=examples, stop=["\nQ:"]))).ask(
        SKY, 0
    )
    assert plain.body["prompt"].endswith("(A) the floor (B) the sky\nA: Let's think step by step.")
    assert "One and one. The answer is 2." in plain.body["prompt"]
    assert plain.body["stop"] == ["\nQ:"]


def test_reasoning_models_get_neither_temperature_nor_the_old_limit() -> None:
    config = scripted(temperature=None, top_p=None, max_tokens_field="max_completion_tokens")
    assert set(RequestBuilder(config).ask(PENS, 0).body) == {"model", "messages", "max_completion_tokens", "seed"}


def test_examples_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"question": "1 + 1?"}\n')
    with pytest.raises(ConfigError, match=r"teacher\.prompt\.examples: row 1"):
        RequestBuilder(scripted(prompt=TeacherPrompt(examples=examples)))
