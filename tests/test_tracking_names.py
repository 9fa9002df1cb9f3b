"""What MLflow would refuse or lose: names of parameters, more models than a page holds, a home with signs of a URL."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Param
from mlflow.utils.validation import _validate_batch_log_data, _validate_param

from kpod import tracking
from kpod.config.flat import flatten
from kpod.store.home import home, sqlite_url
from kpod.tracking import names
from kpod.tracking.names import allowed, batches

SETTINGS = {
    "extra_body": {
        "logit_bias": {"<|im_end|>": -5, "<|im_sep|>": -5, "50256": -100},
        "response_format": {
            "schema": {"$defs": {"a": {"type": "object"}}, "properties": {"a/b": {"$ref": "#/$defs/a"}}}
        },
        "k" * 300: {"x": 1, "y": 2},
        "..": 1,
        "": "\ud83d",
        "stop": "x" * 10_000,
        "Größe": "é",
        "nul": "a\0b",
    }
}


def test_any_setting_has_a_parameter() -> None:
    params = allowed(dict(flatten(SETTINGS, "teacher.")))
    assert len(params) == len(dict(flatten(SETTINGS)))
    assert params["teacher.extra_body.logit_bias.50256"] == "-100"
    assert params["teacher.extra_body.logit_bias.__im_end__"] == "-5"
    assert params["teacher.extra_body.Größe"] == "é"
    with tracking.run("settings", dict(flatten(SETTINGS, "teacher.")), {}) as run:
        run.warning("half an emoji: \ud83d")
    assert tracking.get_run(run.run_id).data.params == params  # type: ignore[union-attr]


texts = st.text(max_size=6) | st.sampled_from(["<|a|>", "[|a|]", "..", "/", "a" * 260, "\ud83d", "a.b", "__a__"])


@given(st.dictionaries(texts, texts, max_size=8))
def test_names_are_taken_and_none_is_lost(params: dict[str, str]) -> None:
    found = allowed(params)
    assert len(found) == len(params)
    assert all(
        found[name] == value or "\ud83d" in value or "\0" in value for name, value in params.items() if name in found
    )
    for name, value in found.items():
        _validate_param(name, value)
        name.encode()
        value.encode()


def test_many_long_values_go_out_in_several_requests() -> None:
    params = allowed({str(i): "語" * 6000 for i in range(250)})
    parts = list(batches(params))
    assert dict(pair for part in parts for pair in part) == params
    for part in parts:
        _validate_batch_log_data([], [Param(*pair) for pair in part], [])
        assert sum(6 * len(value) for _, value in part) < 1_000_000
    assert max(len(part) for part in batches({str(i): "" for i in range(250)})) == names.MOST_PARAMS


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the file", "through the client"])
def test_more_models_than_a_page_holds(elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if elsewhere:
        monkeypatch.setattr("kpod.tracking.versions.select", lambda *query: None)
    api = tracking.client()
    api.create_registered_model("another")
    for i in range(103):
        api.create_registered_model(f"{tracking.STUDENT}set-{i:03d}")
    found = tracking.registered_models()
    assert sorted(found) == [f"{tracking.STUDENT}set-{i:03d}" for i in range(103)]


HOMES = ["plain", "two words", "a?b", "a#b", "100%", "%41", "a?b#c%20d e", "ümlaut & 'quotes'"]


@pytest.fixture(params=HOMES)
def odd_home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / request.param
    monkeypatch.setenv("KPOD_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("odd_home", ["a?b#c%20d e"], indirect=True)
def test_mlflow_keeps_its_store_inside_any_home(odd_home: Path, tmp_path: Path) -> None:
    code = """
import pathlib, kpod.tracking as t
with t.run("one", {"a": "1"}, {}) as run:
    pathlib.Path("work").mkdir(); pathlib.Path("work/x").write_text("1")
    uri = run.upload(pathlib.Path("work"))
assert t.download(uri, pathlib.Path("back"))
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0
    assert (tmp_path / "back" / "x").read_text() == "1"
    assert (home() / "mlflow" / "mlflow.db").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([odd_home.name, "work", "back"])


def test_the_url_of_an_sqlite_file_means_that_file(odd_home: Path) -> None:
    from sqlalchemy import create_engine, text

    odd_home.mkdir()
    file = odd_home / "some.db"
    with create_engine(sqlite_url(file, "pysqlite")).begin() as connection:
        connection.execute(text("create table kept (x)"))
    assert sqlite3.connect(file).execute("select name from sqlite_master").fetchall() == [("kept",)]
    assert [path.name for path in odd_home.iterdir()] == ["some.db"]
