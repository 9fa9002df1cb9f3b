import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from report_sample import full_report, hostile_report

from kpod.config.flat import flatten
from kpod.report.data import Cost, ReportData
from kpod.report.page import write_report
from kpod.report.samples import sample_groups
from kpod.report.summary import markdown, summary
from kpod.report.teacher import teacher_yield
from kpod.run.stages import STAGES

BLANK = "data:image/png;base64,"
SECTIONS = {"example", "accuracy", "learning", "curriculum", "tokens", "teacher", "samples", "lineage"}
PAPER = "https://arxiv.org/abs/2405.16064"


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [value for _, found, value in self.attributes if found == name]


def written(data: ReportData, folder: Path) -> str:
    write_report(folder / "report.html", data)
    return (folder / "report.html").read_bytes().decode("utf-8")


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the slow drawing out of tests that look at words and structure only."""
    monkeypatch.setattr("kpod.report.page.data_uri", lambda figure: BLANK)


def test_every_section_shows_its_data(undrawn, tmp_path):
    page = Page(written(full_report(40), tmp_path))
    assert set(page.values("id")) == SECTIONS
    for text in ("demo: word problems", "scratch, 4 layers of 160", "+19.0", "0.607", "0.002", "dropped: wrong answer",
                 "distill.adapter.kind", "questions.sources.0.train", "✓ right", "scotd, kpod"):  # fmt: skip
        assert text in page.text, text


@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_the_page_needs_nothing_but_itself(make, tmp_path):
    html = written(make(30), tmp_path)
    assert "By number of steps" in html
    page = Page(html)
    assert set(page.values("href")) == {PAPER}
    images = page.values("src")
    assert len(images) == page.tags.count("img") == 8
    for source in images:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            image.load()
    assert not {"script", "link", "iframe", "object", "embed", "form", "base", "svg"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in css
    assert "@import" not in css


def test_hostile_text_is_text_at_every_place(undrawn, tmp_path):
    html = written(hostile_report(30), tmp_path)
    page = Page(html)
    assert page.tags.count("title") == page.tags.count("style") == page.tags.count("body") == 1
    assert "\x00" not in html
    assert "\u202e" not in html
    assert "49" not in {text.strip() for text in page.text.split()}  # {{ 7 * 7 }} was not evaluated
    places = {"title", "facts", "facts key", "method", "dataset", "split", "a", "b", "id", "question", "answer",
              "rationale", "model", "drop_reason", "finish_reason", "completion", "predicted", "config", "config key",
              "stage", "run_id"}  # fmt: skip
    assert places <= set(re.findall("⟪(.*?)⟫", page.text))
    assert any(value.startswith("⟪key⟫") for value in page.values("title"))


def test_the_same_data_give_the_same_bytes(tmp_path):
    assert written(full_report(20), tmp_path) == written(full_report(20), tmp_path)


def test_the_page_begins_with_the_outcome(undrawn, tmp_path):
    html = written(full_report(60), tmp_path)
    places = [
        html.index(text) for text in ('class="headline"', "Accuracy by method and set", 'id="example"', 'id="accuracy"')
    ]
    assert places == sorted(places)
    assert "Methods are compared <b>at equal target tokens</b>" in html
    assert "plain distillation" in html[places[0] : places[1]]
    assert "160,002" in html  # target tokens


def test_page_and_summary_say_how_many_rationales_a_question_has(undrawn, tmp_path):
    data = full_report(12)
    data = replace(data, costs={**data.costs, "older": Cost(160_000)})
    html, text = written(data, tmp_path), markdown(data)
    assert '<th class="n">Rationales a question</th>' in html
    for method, cells in (("kpod", ["160,002", "10", "3.7"]), ("older", ["160,000", "–", "–"])):
        assert f"| {method} | {' | '.join(cells)} |" in text
        assert "".join(f'<td class="n">{cell}</td>' for cell in cells) in html
    assert summary(data)["costs"]["kpod"]["rationales_a_question"] == 3.7


PARTS = {
    "example": ("example",),
    "accuracy": ("accuracy", "comparisons", "costs"),
    "learning": ("histories", "validations"),
    "curriculum": ("curriculum", "difficulty"),
    "tokens": ("weights",),
    "teacher": ("rationales", "weights"),
    "samples": ("predictions",),
    "lineage": ("config", "lineage"),
}


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_a_section_without_data_is_left_out(section, undrawn, tmp_path):
    data = full_report(12)
    blank = ReportData(title="")
    page = Page(written(replace(data, **{name: getattr(blank, name) for name in PARTS[section]}), tmp_path))
    missing = {section, "tokens"} if section == "teacher" else {section}
    assert set(page.values("id")) == SECTIONS - missing


def test_empty_tables_count_as_no_data(undrawn, tmp_path):
    data = full_report(6)
    tables = ("rationales", "weights", "difficulty", "curriculum", "clusters")
    empty = replace(data, **{name: getattr(data, name).slice(0, 0) for name in tables})
    empty = replace(empty, histories={"kpod": data.histories["kpod"].slice(0, 0)}, accuracy=[])
    empty = replace(empty, costs={}, example=None)
    empty = replace(empty, predictions={m: t.slice(0, 0) for m, t in data.predictions.items()}, comparisons=[])
    assert set(Page(written(empty, tmp_path)).values("id")) == {"lineage"}
    assert Page(written(ReportData(title="bare"), tmp_path)).values("id") == []


def test_comparisons_alone_are_shown(undrawn, tmp_path):
    page = Page(written(replace(full_report(6), accuracy=[]), tmp_path))
    assert "Paired comparisons" in page.text


def test_endless_output_is_cut(undrawn, tmp_path):
    data = full_report(6)
    rows = data.predictions["kpod"].to_pylist()
    table = data.predictions["kpod"].from_pylist(
        [row | {"completion": "7" * 10_000, "predicted": "7" * 10_000} for row in rows],
        schema=data.predictions["kpod"].schema,
    )
    html = written(replace(data, predictions={"kpod": table}), tmp_path)
    assert "(9,400 more characters)" in html
    assert "7" * 601 not in html


def test_yield_counts_what_the_teacher_sent():
    data = full_report(120)
    rows = data.rationales.to_pylist()
    found = teacher_yield(data.rationales)
    assert found.total == found.kept + sum(count for _, count in found.dropped) == 120
    assert dict(found.dropped)["wrong answer"] == sum(row["drop_reason"] == "wrong answer" for row in rows)
    assert found.completion_tokens == sum(row["completion_tokens"] for row in rows)
    assert found.cost_usd == pytest.approx(120 * 0.00012)
    free = data.rationales.drop_columns("cost_usd").append_column("cost_usd", [[None] * 120])
    assert teacher_yield(free).cost_usd is None


def test_samples_are_sorted_by_who_is_right():
    data = full_report(60)
    predictions = {m: data.predictions[m] for m in sorted(data.predictions, key=lambda name: name == "scotd")}
    by_method = {m: {r["question_id"]: r["correct"] for r in t.to_pylist()} for m, t in predictions.items()}
    groups = sample_groups(predictions, data.questions)
    assert sum(group.total for group in groups) == 60
    for group in groups:
        assert 1 <= len(group.samples) <= 3
        for sample in group.samples:
            right = {m: rows[sample.question_id] for m, rows in by_method.items()}
            assert [said.correct for said in sample.outputs] == list(right.values())
            others = [value for m, value in right.items() if m != "scotd"]
            if group.title.startswith("All"):
                assert set(right.values()) == {group.title == "All right"}
            else:
                assert right["scotd"] == group.title.startswith("scotd is right")
                assert right["scotd"] not in others or len(set(others)) == 2
    alone = sample_groups({"kpod": data.predictions["kpod"]}, None)
    assert [group.title for group in alone] == ["kpod is right", "kpod is wrong"]
    assert alone[0].samples[0].question is None


def test_settings_are_flat_and_hold_no_password():
    tree = {"a": {"b": [1, 2], "c": {}}, "url": "http://me:secret@host/v1", "list": [{"x": None}]}
    expected = [("a.b", "[1, 2]"), ("a.c", "{}"), ("url", "http://***@host/v1"), ("list.0.x", "None")]
    assert list(flatten(tree)) == expected


def test_the_diagram_names_every_stage_and_loads_nothing():
    text = (Path(__file__).parents[1] / "docs/images/pipeline.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own file
    names = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {*STAGES, "base student"} - {"base"} <= names
    assert "href" not in text
    assert text.count("http") == 1  # the name space
