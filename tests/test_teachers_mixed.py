"""Several teachers in one run: who is asked what, what a row says of its teacher, and what each delivered and cost."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
import pytest
from configs import REQUIRED, pipeline
from report_sample import full_report
from teacher_tools import Sums, rows, stats, table, write

from kpod import schemas
from kpod.config import OpenAIEndpoint, Price, SharedTeacher, Teacher, Teachers
from kpod.config.settings import load_sweep, validate
from kpod.errors import ConfigError, TeacherError
from kpod.models.lineage import _facts
from kpod.questions import stage as questions
from kpod.report.page import write_report
from kpod.sweep.plan import arms
from kpod.teacher.ask import Question
from kpod.teacher.estimate import estimate
from kpod.teacher.server import running
from kpod.teacher.shares import shared_out
from kpod.teacher.stage import run

THOUGHTS = "".join(f"We think about the {word} one. " for word in ("first", "second", "third", "fourth", "fifth"))


@pytest.fixture
def urls() -> Iterator[tuple[str, str]]:
    """A short-spoken server and a long-winded one."""
    with (
        running(Sums(lambda total, _: f"That makes {total}. The answer is {total}.")) as short,
        running(Sums(lambda total, _: f"{THOUGHTS}That makes {total}. The answer is {total}.")) as long,
    ):
        yield short, long


def mixed(*shared: tuple[str, str, float], **settings: Any) -> Teachers:
    """Teachers of (name, address, share)."""
    return Teachers(
        teachers=[
            SharedTeacher(
                name=name, share=share, endpoint=OpenAIEndpoint(base_url=url), model=f"{name}-model", **settings
            )
            for name, url, share in shared
        ]
    )


def told(tmp_path: Path, config: Teacher | Teachers, count: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    out = tmp_path / "out"
    out.mkdir(parents=True, exist_ok=True)
    return run(write(tmp_path / "questions", rows(count)), config, out), table(out)


def asked(count: int) -> list[Question]:
    return [Question(f"q{number}", "?", "1", None) for number in range(count)]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_every_question_has_one_teacher_and_shares_are_met(shares: tuple[float, ...]) -> None:
    config = mixed(*((f"t{n}", "http://127.0.0.1:1", share) for n, share in enumerate(shares)))
    parts = [[question.id for question in mine] for _, mine in shared_out(asked(4000), config)]
    assert sorted(id for mine in parts for id in mine) == sorted(question.id for question in asked(4000))
    for share, mine in zip(shares, parts, strict=True):
        assert abs(len(mine) - 4000 * share) <= 3 * (4000 * share * (1 - share)) ** 0.5
        assert mine == sorted(mine, key=lambda id: int(id[1:]))


def test_a_question_keeps_its_teacher_in_a_larger_set() -> None:
    config = mixed(("a", "http://127.0.0.1:1", 0.5), ("b", "http://127.0.0.1:1", 0.5))
    small, large = (dict(zip("ab", shared_out(asked(n), config), strict=True)) for n in (50, 500))
    for name in "ab":
        assert {one.id for one in small[name][1]} <= {one.id for one in large[name][1]}


def test_rows_carry_their_teacher_and_report_and_metrics_hold_what_each_delivered(
    tmp_path: Path, urls: tuple[str, str]
) -> None:
    price = Price(input="1", output="2")
    metrics, found = told(tmp_path, mixed(("short", urls[0], 0.5), ("long", urls[1], 0.5), price=price), 30)
    assert sorted(row["question_id"] for row in found) == [row["id"] for row in rows(30)]
    assert all(row["correct"] for row in found)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["teachers"]) == ["short", "long"]
    for name in ("short", "long"):
        mine = [row for row in found if row["teacher"] == name]
        assert mine
        assert all(("think about" in row["rationale"]) == (name == "long") for row in mine)
        usd = sum(Decimal(row["prompt_tokens"] + 2 * row["completion_tokens"]) for row in mine) / 1_000_000
        assert Decimal(report["teachers"][name]["cost_usd"]) == usd
        assert report["teachers"][name]["questions"] == metrics[f"kept/{name}"] == len(mine)
    sums = [sum(one[key] for one in report["teachers"].values()) for key in ("kept", "completion_tokens")]
    assert sums == [report["kept"], report["completion_tokens"]]
    assert metrics["requests_sent"] == 30
    assert len(schemas.read(tmp_path / "out" / "rationales.parquet", schemas.RATIONALES)) == 30  # of the contract


def test_other_shares_pay_for_nothing_twice(tmp_path: Path, urls: tuple[str, str]) -> None:
    told(tmp_path, mixed(("short", urls[0], 0.5), ("long", urls[1], 0.5)), 20)
    before = [stats(url)["received"] for url in urls]
    told(tmp_path, mixed(("short", urls[0], 0.7), ("long", urls[1], 0.3)), 20)
    assert stats(urls[1])["received"] == before[1]
    _, found = told(tmp_path, mixed(("short", urls[0], 1.0), ("long", urls[1], 0.0)), 20)
    assert {row["teacher"] for row in found} == {"short"}
    assert stats(urls[0])["received"] == 20


def test_one_teacher_alone_has_the_columns_of_the_contract(tmp_path: Path, urls: tuple[str, str]) -> None:
    told(tmp_path, Teacher(endpoint=OpenAIEndpoint(base_url=urls[0]), model="m"), 3)
    assert pq.read_schema(tmp_path / "out" / "rationales.parquet").names == schemas.RATIONALES.names
    assert "teachers" not in json.loads((tmp_path / "out" / "report.json").read_text())


def test_a_teacher_that_is_away_is_told_before_another_is_paid(tmp_path: Path, urls: tuple[str, str]) -> None:
    away = "http://127.0.0.1:9/v1"
    with pytest.raises(TeacherError, match="cannot be reached"):
        told(tmp_path, mixed(("short", urls[0], 0.5), ("away", away, 0.5)), 10)
    assert not stats(urls[0]).get("received")


def test_rationales_that_are_there_can_be_one_of_the_teachers(tmp_path: Path, urls: tuple[str, str]) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [{"id": row["id"], "rationale": "Mine.", "answer": row["answer"]} for row in rows(20)]
    file.write_text("\n".join(map(json.dumps, lines)))
    imported = {"name": "mine", "share": 0.5, "endpoint": {"kind": "import", "rationales": [file]}}
    asked = {"name": "short", "share": 0.5, "endpoint": {"kind": "openai", "base_url": urls[0]}, "model": "m"}
    _, found = told(tmp_path, Teachers.model_validate({"teachers": [imported, asked]}), 20)
    assert {row["teacher"]: row["rationale"] == "Mine." for row in found} == {"mine": True, "short": False}
    assert len(found) == 20


def test_an_estimate_is_of_all_teachers(tmp_path: Path, urls: tuple[str, str]) -> None:
    config = mixed(("short", urls[0], 0.5), ("long", urls[1], 0.5), price=Price(input="1", output="2"))
    inputs = write(tmp_path / "questions", rows(20))
    found = estimate(inputs["questions"] / "questions.parquet", config)
    assert (found.requests, found.finished) == (20, 0)
    assert found.expected_usd is not None
    told(tmp_path, config, 20)
    assert estimate(inputs["questions"] / "questions.parquet", config).finished == 20


LOCAL = {"endpoint": {"kind": "scripted"}}


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"teacher": LOCAL, "teachers": [{**LOCAL, "share": 1}]}, "give teacher or teachers, not both"),
        ({"teacher": None}, "teacher is null and teachers is empty"),
        ({"teachers": [{**LOCAL, "share": 0.5}]}, "teachers: the shares of all teachers must sum to 1"),
        ({"teachers": [{**LOCAL, "share": 0.5}] * 2}, "teachers: two teachers are called scripted"),
        ({"teachers": [LOCAL]}, r"teachers\.0\.share: is missing"),
        (
            {"teachers": [{**LOCAL, "share": 1, "sampels": 2}]},
            r"teachers\.0\.sampels: unknown key \(did you mean samples",
        ),
        ({"teachers": [{**LOCAL, "share": 1}], "methods": ["mcc-kd"]}, "mcc-kd needs two rationales a question"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tree: dict[str, Any], line: str) -> None:
    required = {key: value for key, value in REQUIRED.items() if key != "teacher"}
    with pytest.raises(ConfigError, match=line) as caught:
        validate({**required, **tree})
    assert "\n" not in str(caught.value)


def test_every_teacher_shares_the_settings_of_all_stages() -> None:
    several = [{**LOCAL, "name": name, "share": 0.5} for name in "ab"]
    config = pipeline({"teacher": None, "teachers": several, "answer": {"kind": "boxed"}, "verifier": {"kind": "math"}})
    for one in config.all_teachers:
        assert one.answer.kind == "boxed"
        assert one.prompt.system.endswith(r"\boxed{<answer>}")
        assert one.verifier.kind == "math"
    assert config.teacher_name == "a (50%), b (50%)"
    assert validate(config.model_dump(mode="json")) == config


def test_the_sweep_mix_compares_short_long_and_half_and_half(tmp_path: Path) -> None:
    sizes = ["datasets.wordproblems=[{kind: wordproblems, train: 40, test: 5, longer: 0}]"]
    length = {}
    for arm in arms(load_sweep("mix", "tiny", [*sizes, "seeds=[0]"])):
        inputs, out = {"questions": tmp_path / arm.variant}, tmp_path / f"{arm.variant}-out"
        for folder in (inputs["questions"], out):
            folder.mkdir()
        questions.run({}, arm.config.questions, inputs["questions"])
        run(inputs, arm.config.teaching, out)
        by_teacher: dict[str, list[int]] = {}
        for row in table(out):
            by_teacher.setdefault(row["teacher"], []).append(len(row["rationale"]))
        length[arm.variant] = {name: mean(found) for name, found in by_teacher.items()}
    assert {variant: set(found) for variant, found in length.items()} == {
        "short": {"short"}, "half": {"short", "long"}, "long": {"long"},
    }  # fmt: skip
    assert length["long"]["long"] > 2 * length["short"]["short"]


def test_page_and_lineage_name_each_teacher(tmp_path: Path) -> None:
    one = {"model": "m", "questions": 7, "rationales": 21, "kept": 20, "completion_tokens": 2100, "cost_usd": None}
    data = full_report(30)
    object.__setattr__(data, "teachers", {"brief": one, "<b>long</b>": {**one, "cost_usd": "0.125"}})
    write_report(tmp_path / "report.html", data)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<bdi>brief</bdi>" in html
    assert "&lt;b&gt;long&lt;/b&gt;" in html
    assert "$0.125" in html
    params = {
        "rationales.teachers.0.name": "a",
        "rationales.teachers.0.share": "0.5",
        "rationales.teachers.0.model": "x",
    }
    params |= {"rationales.teachers.1.name": "b", "rationales.teachers.1.endpoint.base_url": "http://h/v1"}
    told = list(_facts({"kpod.stage": "rationales"}, params, {}))
    assert told[:2] == [
        "teacher a, asked a share of 0.5: x at this machine",
        "teacher b, asked a share of None: None at http://h/v1",
    ]
