"""Steps without a keypoint are marked in the token view, and counted."""

import dataclasses
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from configs import pipeline
from report_sample import full_report, hostile_report, left_out, token_rows

from kpod import schemas
from kpod.report import left_out as module
from kpod.report.data import ReportData
from kpod.report.page import HEAT_MAPS, write_report
from kpod.report.token_views import token_views, weight_scale
from kpod.report.tokens import write_token_view
from kpod.report.tokens_figure import _SOFT, token_figure
from kpod.text.hygiene import clean
from kpod.training.weights import LEAST

Key = tuple[str, int]


def reference(weights: pa.Table, share: float) -> dict[Key, set[int]]:
    """The steps that are left out of each rationale, by loops."""
    rows, of_token = weights.to_pylist(), {}
    for row in rows:
        for token, weight in zip(row["token_ids"], row["weight"], strict=True):
            of_token.setdefault(token, []).append(weight)
    mean = {token: round(sum(values) / len(values), 6) for token, values in of_token.items()}
    heaviest = sorted((mean[token] for token, values in of_token.items() for _ in values), reverse=True)
    least = max(LEAST, heaviest[math.ceil(share * len(heaviest)) - 1])
    found = {}
    for row in rows:
        steps = set(row["step"])
        kept = {n for token, n in zip(row["token_ids"], row["step"], strict=True) if mean[token] >= least}
        found[row["question_id"], row["sample"]] = steps - kept if kept else set()
    return found


def alone(data: ReportData) -> ReportData:
    """The data of the heat maps, without the other sections."""
    names = ("title", "questions", "rationales", "weights", "left_out", "tokenizer")
    return ReportData(**{name: getattr(data, name) for name in names})


def views_of(data: ReportData, limit: int = 99):
    return token_views(data.weights, data.questions, data.rationales, data.tokenizer, limit, data.left_out)


class Struck(HTMLParser):
    """The struck-through text of each rationale on a page, and the titles of its tokens."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.depth = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if ("class", "text tokens") in attrs:
            self.texts.append("")
        self.depth += tag == "del"
        if tag == "span" and self.depth and self.texts:
            self.titles.append(dict(attrs)["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "del"

    def handle_data(self, text: str) -> None:
        if self.depth and self.texts:
            self.texts[-1] += text


@pytest.mark.parametrize("share", [0.001, 0.1, 0.2, 0.5, 1.0])
def test_marks_are_those_of_a_slow_reference(share: float) -> None:
    data = full_report(30)
    rows, rng = data.weights.to_pylist(), np.random.default_rng(0)
    for row in rows:
        row["weight"] = rng.random(len(row["weight"])).tolist()
    weights = schemas.table(rows, schemas.WEIGHTS)
    data = dataclasses.replace(data, weights=weights, left_out=left_out(weights, share))
    expected = reference(weights, share)
    by_key = {(row["question_id"], row["sample"]): row for row in rows}
    for view in views_of(data):
        row, out = by_key[view.question_id, view.sample], expected[view.question_id, view.sample]
        marked = [
            data.tokenizer.decode([token]) for token, n in zip(row["token_ids"], row["step"], strict=True) if n in out
        ]
        assert "".join(token.text for token in view.tokens if token.left_out) == "".join(marked)
    assert data.left_out.count == sum(map(len, expected.values()))
    assert data.left_out.steps == sum(len(set(row["step"])) for row in rows)
    assert share in (0.5, 1.0) or data.left_out.count


def test_a_rationale_that_is_not_trained_on_has_no_marks() -> None:
    data = full_report(12)
    fewer = dataclasses.replace(data.left_out, rest=data.left_out.rest.take(np.arange(6)))
    keys = [("wp-0002", 0), ("wp-0008", 0), ("wp-0002", 1), ("elsewhere", 0)]
    assert [bool(steps) for steps in fewer.of(keys)] == [True, False, False, False]


@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_the_pages_strike_through_the_marked_tokens_and_say_how_many_steps(make, tmp_path: Path) -> None:
    data = alone(make(8))
    write_report(tmp_path / "report.html", data)
    tables = (data.weights, data.questions, data.rationales)
    paths = (tmp_path / "tokens.html", tmp_path / "tokens.png")
    write_token_view(*tables, data.tokenizer, *paths, limit=4, left_out=data.left_out)
    for name, limit in (("report.html", HEAT_MAPS), ("tokens.html", 4)):
        page = (tmp_path / name).read_text()
        struck, views = Struck(page), views_of(data, limit)
        shown = ["".join(token.text for token in view.tokens if token.left_out) for view in views]
        assert any(shown)
        assert struck.texts == [clean(text) for text in shown]
        assert len(struck.titles) == sum(token.left_out for view in views for token in view.tokens)
        assert all(title.endswith(", left out: no keypoint") for title in struck.titles)
        assert "<script" not in page
        count, steps = data.left_out.count, data.left_out.steps
        assert f"{100 * count / steps:.1f}% of the steps ({count} of {steps}) have no keypoint and are left out" in page


def test_nothing_is_marked_where_no_share_is_known(tmp_path: Path) -> None:
    data = dataclasses.replace(alone(full_report(8)), left_out=None)
    assert not any(token.left_out for view in views_of(data) for token in view.tokens)
    write_report(tmp_path / "report.html", data)
    page = (tmp_path / "report.html").read_text()
    assert "<del>" not in page
    assert "keypoint and are" not in page


def test_the_picture_strikes_through_the_same_tokens() -> None:
    data = full_report(6)
    views, scale = views_of(data), weight_scale(data.weights)
    figure = token_figure(views, scale.low, scale.high)
    grey = [text.get_text() for text in figure.axes[0].texts if text.get_color() == _SOFT]
    marked = [token.text for view in views for token in view.tokens if token.left_out]
    assert grey == ["left out: no keypoint", *marked]
    plain = token_figure(views_of(dataclasses.replace(data, left_out=None)), scale.low, scale.high)
    assert not any(text.get_color() == _SOFT for text in plain.axes[0].texts)


def written(root: Path, weights: pa.Table) -> dict[str, Path]:
    """The folders that the stage `report` reads for the methods kpod and kpod-paper."""
    (root / "tokens").mkdir()
    (root / "weights").mkdir()
    with schemas.writing(root / "tokens" / "tokens.arrow", schemas.TOKENS) as write:
        write(token_rows(weights))
    schemas.write(root / "weights" / "weights.parquet", weights)
    return {f"{method}.{name}": root / name for method in ("kpod-paper", "kpod") for name in ("tokens", "weights")}


def test_the_first_method_with_keypoints_decides(tmp_path: Path) -> None:
    data = full_report(30)
    inputs = written(tmp_path, data.weights)
    found = module.left_out(inputs, pipeline({"methods": ["base", "scotd", "kpod-paper", "kpod"]}))
    assert found.method == "kpod"
    keys = [(row["question_id"], row["sample"]) for row in data.weights.to_pylist()]
    assert dict(zip(keys, found.of(keys), strict=True)) == reference(data.weights, 0.2)
    assert found.count == data.left_out.count > 0


@pytest.mark.parametrize("tree", [{"methods": ["base", "scotd", "kpod-paper"]}, {"distill": {"keypoints": 0}}])
def test_there_are_no_marks_without_a_method_that_has_keypoints(tmp_path: Path, tree: dict) -> None:
    assert module.left_out(written(tmp_path, full_report(5).weights), pipeline(tree)) is None


@pytest.mark.parametrize(("level", "words"), [(None, "more than half"), (0.99, "carry no information")])
def test_weights_that_leave_out_no_step_are_explained(tmp_path: Path, level: float | None, words: str) -> None:
    data = full_report(30)
    rows = data.weights.to_pylist()
    for row in rows:  # the tokens of the last step weigh most, and a share of 0.001 keeps only one token
        last = max(row["step"])
        row["weight"] = [level or (0.9 if step == last else 0.2) for step in row["step"]]
    weights = schemas.table(rows, schemas.WEIGHTS)
    found = module.left_out(written(tmp_path, weights), pipeline({"distill": {"keypoints": 0.001}}))
    assert words in found.why_none
    assert found.count == 0
    write_report(tmp_path / "report.html", alone(dataclasses.replace(data, weights=weights, left_out=found)))
    page = (tmp_path / "report.html").read_text()
    assert f"<bdi>kpod</bdi>: {found.why_none}." in page
    assert "<del>" not in page
