"""The command line: fast help, one-line errors, recipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kpod import schemas
from kpod.cli.app import app
from kpod.config.settings import load

runner = CliRunner()


def kpod(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kpod.cli", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, kpod.cli; print([m for m in ('torch','prefect','mlflow','transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    shown = runner.invoke(app, ["--help"]).stdout
    for command in (
        "demo",
        "run",
        "sweep",
        "recipes",
        "teacher",
        "compare",
        "export",
        "doctor",
        "retrain",
        "rollback",
        "reproduce",
        "clean",
    ):
        assert command in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "demo", "--set", "distill.epocs=3"], "kpod: distill.epocs: unknown key (did you mean epochs?)"),
        (["run", "nothing-like-this"], "kpod: nothing-like-this is neither a file nor a recipe"),
        (["run", "demo", "--refresh", "distil"], "kpod: no stage distil; the stages are questions"),
        (["recipes", "cp", "demmo", "x.yaml"], "kpod: no recipe demmo"),
        (["sweep", "table-1"], "kpod: datasets: table-1 names none; give --size, one of cpu, gpu, paper, tiny"),
        (["sweep", "table-1", "--size", "tiny", "--set", "pipeline.distill.lr=-1"], "kpod: base: distill.lr: "),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = kpod(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def predictions(path: Path, right: set[str], ids: str = "abcd") -> str:
    usual = {"dataset": "sums", "split": "test", "completion": "So it is.", "answer": "7", "truncated": False}
    rows = [{**usual, "question_id": i, "predicted": "7" if i in right else "8", "correct": i in right} for i in ids]
    schemas.write(path, schemas.table(rows, schemas.PREDICTIONS))
    return str(path)


def test_two_files_of_predictions_are_compared_and_other_questions_are_refused(tmp_path: Path) -> None:
    a, b = predictions(tmp_path / "a.parquet", {"a"}), predictions(tmp_path / "b.parquet", {"b", "c"})
    shown = runner.invoke(
        app, ["compare", a, b, "--figure", str(tmp_path / "flips.png")], catch_exceptions=False
    ).stdout
    assert f"A is {a}, B is {b}." in shown
    assert "| sums test | 4 | 25.0% | 50.0% | +25.0 |" in shown
    assert "- `a`, gold 7" in shown
    assert (tmp_path / "flips.png").read_bytes().startswith(b"\x89PNG")
    done = kpod("compare", a, predictions(tmp_path / "c.parquet", {"a"}, "abce"))
    assert done.returncode == 2
    assert done.stderr.startswith("kpod: ")
    assert "1 only in A, 1 only in B" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kpod("run", "demo", KPOD_HOME=str(tmp_path / "file" / "below"))
    assert done.returncode == 2
    assert "KPOD_HOME" in done.stderr
    assert done.stderr.count("\n") == 1


def test_recipes_can_be_listed_and_copied(tmp_path: Path) -> None:
    shown = runner.invoke(app, ["recipes", "ls"]).stdout
    for line in ("kpod run svamp-smollm2", "kpod sweep table-1", "kpod sweep ... --size tiny"):
        assert line in shown
    copy = tmp_path / "mine.yaml"
    assert runner.invoke(app, ["recipes", "cp", "demo", str(copy)]).exit_code == 0
    assert load(str(copy)) == load("demo")
    assert kpod("recipes", "cp", "demo", str(copy)).returncode == 2  # never overwrites


def test_a_teacher_is_estimated_without_being_asked(tmp_path: Path) -> None:
    priced = ["--set", "teacher.price={input: 1, output: 2}", "--set", "teacher.samples=3"]
    nobody = ["--set", "teacher.endpoint={kind: openai, base_url: 'http://127.0.0.1:9/v1'}", "--set", "teacher.model=m"]
    shown = runner.invoke(app, ["teacher", "estimate", "demo", *priced, *nobody]).stdout
    assert shown.startswith(f"{3 * load('demo').questions.sources[0].train} requests (0 are in the journal), about ")
    assert "US dollars" in shown
