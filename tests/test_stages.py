"""The chain of stages without an orchestrator: plain functions from folder to folder."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from kpod import schemas
from kpod.config import Difficulty, Pipeline
from kpod.config.settings import load
from kpod.config.variants import apply
from kpod.difficulty.stage import step_difficulty
from kpod.evaluate.compare import compare
from kpod.evaluate.statistics import mcnemar_exact, paired_bootstrap, wilson
from kpod.run import stages

ORDER = ("questions", "rationales", "steps", "base", "tokens", "weights", "difficulty", "curriculum", "distill")


@pytest.fixture
def config() -> Pipeline:
    return apply(load(str(Path(__file__).parent / "tiny.yaml")), "kpod")


def test_stages_chain_as_plain_functions(config: Pipeline, tmp_path: Path) -> None:
    folders: dict[str, Path] = {}
    for name in (*ORDER, "evaluate"):
        stage = stages.STAGES[name]
        out = tmp_path / name
        out.mkdir()
        inputs = {need: folders["distill" if need == "student" else need] for need in stage.needs(config)}
        figures = import_module(stage.module).run(inputs, stage.config(config), out)
        assert all(isinstance(float(value), float) for value in figures.values())
        folders[name] = out

    difficulty = schemas.read(folders["difficulty"] / "difficulty.parquet", schemas.DIFFICULTY)
    assert min(difficulty["difficulty"].to_pylist()) >= 0
    plan = schemas.read(folders["curriculum"] / "curriculum.parquet", schemas.CURRICULUM).to_pylist()
    assert all(row["input_steps"] == 0 for row in plan if row["stage"] == 1)  # T = epochs / 2
    predictions = schemas.read(folders["evaluate"] / "predictions.parquet", schemas.PREDICTIONS)
    assert predictions.num_rows == 6
    same = compare(predictions, predictions)
    assert {one.p_value for one in same.sets} == {1.0}


@pytest.mark.parametrize(("weighting", "expected"), [("normalised", [1.5, 8.0]), ("uniform", [2.0, 8.0])])
def test_step_difficulty_shares_the_weights_within_each_step(weighting: str, expected: list[float]) -> None:
    nll, weight, step = np.array([1.0, 3.0, 8.0]), np.array([0.9, 0.3, 0.1]), np.array([0, 0, 1])
    found = step_difficulty(nll, weight, step, 2, Difficulty(weighting=weighting))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected)


def test_softmax_difficulty_is_equation_8() -> None:
    nll, weight, step = np.array([1.0, 3.0, 8.0]), np.array([0.9, 0.3, 0.1]), np.array([0, 0, 1])
    shares = np.exp(weight[:2]) / np.exp(weight[:2]).sum()
    found = step_difficulty(nll, weight, step, 3, Difficulty())
    np.testing.assert_allclose(found, [float(shares @ nll[:2]), 8.0, 0.0])


def test_statistics_against_values_worked_out_by_hand() -> None:
    np.testing.assert_allclose(wilson(5, 10), (0.2366, 0.7634), atol=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar_exact(3, 3) == 1.0
    a, b = np.array([True] * 5 + [False] * 5), np.array([True] * 10)
    low, high = paired_bootstrap(a, b)
    assert 0.1 <= low < 0.5 < high <= 0.9
