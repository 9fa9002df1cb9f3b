"""Stage `report`: every part of the page from what the stages left, and nothing about the machine."""

import json
from pathlib import Path

import pytest
from configs import pipeline
from report_sample import METHODS, full_report, token_rows

from kpod import schemas
from kpod.report.settings import Lineage, ReportSettings
from kpod.report.stage import run

PARTS = ("accuracy", "learning", "curriculum", "tokens", "teacher", "samples", "lineage")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage writes for a run of which every stage has left something."""
    root, data = tmp_path_factory.mktemp("someones-machine"), full_report(40)
    tables = {
        "questions/questions": data.questions, "rationales/rationales": data.rationales,
        "weights/weights": data.weights,
        "difficulty/difficulty": data.difficulty, "curriculum/curriculum": data.curriculum,
        "curriculum/clusters": data.clusters,
        **{f"{m}.evaluate/predictions": table for m, table in data.predictions.items()},
        **{f"{m}.distill/history": table for m, table in data.histories.items()},
    }  # fmt: skip
    for name, table in tables.items():
        (root / name).parent.mkdir(exist_ok=True)
        schemas.write(root / f"{name}.parquet", table)
    for method, points in data.validations.items():
        (root / f"{method}.distill" / "validation.json").write_text(json.dumps([vars(point) for point in points]))
    (root / "tokens").mkdir()
    with schemas.writing(root / "tokens" / "tokens.arrow", schemas.TOKENS) as write:
        write(token_rows(data.weights))
    data.tokenizer.save_pretrained(root / "base" / "student")
    (root / "my-questions.jsonl").write_text("{}")
    shared = ("questions", "rationales", "tokens", "weights", "difficulty", "curriculum", "base")
    inputs = {f"kpod.{name}": root / name for name in shared}
    inputs |= {f"{m}.evaluate": root / f"{m}.evaluate" for m in METHODS}
    inputs |= {f"{m}.distill": root / f"{m}.distill" for m in METHODS[1:]}
    source = {"kind": "file", "dataset": "mine", "files": {"train": root / "my-questions.jsonl"}}
    config = pipeline({"methods": METHODS, "questions": {"sources": [source]}})
    lineage = tuple(Lineage(name=name, stage=name.split(".")[1], key="ab" * 32, run_id="cd" * 16) for name in inputs)
    out = tmp_path_factory.mktemp("out")
    run(inputs, ReportSettings(pipeline=config, lineage=lineage), out)
    return out


def test_the_page_has_every_part(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert [part for part in PARTS if f'<section id="{part}">' not in page] == []
    assert "Paired comparisons" in page
    assert "Validation accuracy over target tokens" in page
    assert {path.name for path in (written / "figures").iterdir()} >= {"tokens.html", "tokens.png"}


def test_steps_without_a_keypoint_are_marked_on_both_pages(written: Path) -> None:
    for name in ("report.html", "figures/tokens.html"):
        page = (written / name).read_text()
        assert page.count("<del>") > 1  # beside that of the legend
        assert "have no keypoint and are left out of what <bdi>kpod</bdi> is trained on" in page


def test_nothing_that_is_written_tells_where_files_lie_on_this_machine(written: Path) -> None:
    for path in written.rglob("*"):
        if path.is_file():
            assert b"someones-machine" not in path.read_bytes(), path.name
            assert str(written).encode() not in path.read_bytes(), path.name
    assert "questions.sources.0.files.train.sha256" in (written / "report.html").read_text()
