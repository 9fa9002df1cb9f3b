"""vLLM gives what the built-in generator gives: prompts, stops and limits are the same."""

import sys
from pathlib import Path
from typing import Any

import fake_vllm
import pytest
import torch
from configs import pipeline
from distill_tiny import t5
from evaluate_tiny import QUESTIONS, learned, questions, student

from kpod import schemas
from kpod.config import Evaluate
from kpod.errors import ConfigError
from kpod.evaluate.stage import run
from kpod.text.stops import STOPS
from kpod.training import extras, models

CONFIG = Evaluate(max_new_tokens=90, batch_size=2, precision="fp32")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    return {"student": student(tmp_path / "base", learned()), "questions": questions(tmp_path / "questions")}


@pytest.fixture(params=[True, False], ids=["with-eos", "without-eos"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> fake_vllm.Asked:
    made = fake_vllm.Asked()
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm.module(made, keeps_end=request.param))
    monkeypatch.setattr(extras, "check_vllm", lambda stage="": None)
    monkeypatch.setattr("kpod.evaluate.vllm.check_vllm", lambda stage="": None)
    return made


def told(inputs: dict[str, Path], folder: Path, **settings: Any) -> list[dict[str, Any]]:
    folder.mkdir()
    run(inputs, CONFIG.model_copy(update=settings), folder)
    return schemas.read(folder / "predictions.parquet", schemas.PREDICTIONS).to_pylist()


def test_greedy_answers_are_those_of_the_built_in_generator(
    inputs: dict[str, Path], asked: fake_vllm.Asked, tmp_path: Path
) -> None:
    own = told(inputs, tmp_path / "own", backend="transformers")
    assert not asked.prompts
    found = told(inputs, tmp_path / "vllm", backend="vllm")
    assert found == own
    assert [row["truncated"] for row in found] == [False, False, False, True, False]
    assert len(asked.prompts) == len(QUESTIONS)
    [sampling] = asked.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop) == (0.0, 90, STOPS)
    assert sampling.stop_token_ids == [models.load(inputs["student"] / "student")[1].eos_token_id]
    assert (asked.model["dtype"], asked.model["seed"], asked.model["generation_config"]) == ("float32", 0, "vllm")
    assert "trust_remote_code" not in asked.model


def test_auto_takes_vllm_where_it_is_and_transformers_where_not(
    inputs: dict[str, Path], asked: fake_vllm.Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(inputs, tmp_path / "there")
    assert len(asked.prompts) == len(QUESTIONS)

    def missing(stage: str = "") -> None:
        raise ConfigError("not here")

    monkeypatch.setattr("kpod.evaluate.vllm.check_vllm", missing)
    assert told(inputs, tmp_path / "gone") == found
    assert len(asked.prompts) == len(QUESTIONS)


def test_finished_answers_are_not_asked_again(
    inputs: dict[str, Path], asked: fake_vllm.Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpod.evaluate.vllm.CHUNK", 2)
    found = told(inputs, tmp_path / "out", backend="vllm")
    count = len(asked.prompts)
    (tmp_path / "out" / "work" / "batch-4.json").unlink()
    run(inputs, CONFIG.model_copy(update={"backend": "vllm"}), tmp_path / "out")
    assert len(asked.prompts) == count + 1
    again = schemas.read(tmp_path / "out" / "predictions.parquet", schemas.PREDICTIONS).to_pylist()
    assert again == found


def test_an_encoder_decoder_is_left_to_transformers(asked: fake_vllm.Asked, tmp_path: Path) -> None:
    inputs = {"student": student(tmp_path / "base", t5()), "questions": questions(tmp_path / "questions")}
    assert len(told(inputs, tmp_path / "auto", max_new_tokens=4)) == len(QUESTIONS)
    assert not asked.prompts
    with pytest.raises(ConfigError, match="vllm has no encoder-decoder models"):
        told(inputs, tmp_path / "asked", max_new_tokens=4, backend="vllm")


def test_a_missing_package_or_gpu_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pipeline({"evaluate": {"backend": "vllm"}})
    monkeypatch.setattr(extras, "cuda", lambda: False)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^evaluate\.backend: vllm is not installed: pip install 'kpod\[vllm\]'"):
        extras.check(config)
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"^evaluate\.backend: vllm needs a CUDA device"):
        extras.check(config)
    with pytest.raises(ValueError, match="leave it out with vllm or a server"):
        Evaluate(backend="vllm", processes=2)


def test_two_processes_share_the_questions_and_answer_the_same(inputs: dict[str, Path], tmp_path: Path) -> None:
    one = told(inputs, tmp_path / "one", backend="transformers")
    two = told(inputs, tmp_path / "two", backend="transformers", processes=2)
    assert two == one
    kept = {path.name for path in (tmp_path / "two" / "work").glob("batch-*.json")}
    assert kept == {"batch-0.json", "batch-2.json", "batch-4.json"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device and -m gpu")
def test_on_a_gpu_vllm_itself_answers_as_the_built_in_generator(inputs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    own = told(inputs, tmp_path / "own", backend="transformers", precision="bf16")
    found = told(inputs, tmp_path / "vllm", backend="vllm", precision="bf16")
    same = [a["completion"] == b["completion"] for a, b in zip(own, found, strict=True)]
    assert sum(same) >= len(same) - 1  # one near tie may fall the other way
