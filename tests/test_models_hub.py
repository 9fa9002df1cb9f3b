"""A student on its way to others: the card, the chat template, the endpoint, the upload."""

import asyncio
import json
from pathlib import Path

import mlflow
import pytest
from chat_tokenizers import QWEN25, tokenizer
from test_distill_export import finished
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from kpod.config import Distill, Form, Prompt
from kpod.errors import ConfigError, ModelError
from kpod.models import hub
from kpod.models.export import export, form_of
from kpod.models.serve import StudentServer, serve
from kpod.run.results import result_of
from kpod.run.stages import SETTINGS
from kpod.teacher.http import HttpRequest
from kpod.text.formats import COT, resolve
from kpod.training import models

PROMPT = Prompt(kind="chat", system="Count.")


def student(folder: Path) -> None:
    tokens = tokenizer(QWEN25)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokens), bos_token_id=1, eos_token_id=2, **shape))
    models.save(model, tokens, folder)


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> str:
    """The MLflow run of a distilled chat student."""
    student(tmp_path / "made" / "student")
    made = finished(tmp_path / "made")
    tree = Distill(form=Form(prompt=PROMPT)).model_dump(mode="json")
    mlflow.MlflowClient().log_dict(made, tree, SETTINGS)
    return made


def test_the_exported_student_has_the_training_prompt_its_end_and_a_card(run: str, tmp_path: Path) -> None:
    export(run, tmp_path / "out", licence="apache-2.0")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")
    own = tokenizer(QWEN25)
    form = resolve(own, Form(prompt=PROMPT))
    asked = [{"role": "user", "content": "What?"}]
    shown = tokens.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    assert shown == form.prompt_ids(own, "What?")
    assert form.eos in GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "<|start|>system\nCount.<|end|>" in card
    assert "Therefore, the answer is ...." in card
    assert "This run has no evaluation." in card
    assert str(tmp_path) not in card


def test_a_run_that_tells_no_form_has_the_paper_s(tmp_path: Path) -> None:
    student(tmp_path / "made" / "student")
    made = finished(tmp_path / "made")
    assert form_of(result_of(made, "distill"), tokenizer(QWEN25)) == COT


def test_the_endpoint_answers_the_training_prompt(run: str, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    model, tokens = models.load(tmp_path / "out")
    form = form_of(result_of(run, "distill"), tokens)
    server = StudentServer(model, tokens, form)

    def post(path: str, body: object) -> tuple[int, dict]:
        request = HttpRequest("POST", path, {}, json.dumps(body).encode())
        response = asyncio.run(server.handle(request))
        return response.status, json.loads(response.body)

    asked = {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 5}
    status, told = post("/v1/chat/completions", asked)
    assert status == 200
    assert told["usage"]["prompt_tokens"] == len(form.prompt_ids(tokens, "What?"))
    assert told["usage"]["completion_tokens"] <= 5
    assert told["choices"][0]["finish_reason"] in ("stop", "length")
    assert post("/v1/chat/completions", asked)[1] == told  # greedy unless asked otherwise
    assert post("/v1/completions", {"prompt": "Q: What? A:", "max_tokens": 2})[0] == 200
    assert post("/v1/chat/completions", {"messages": []})[0] == 400
    assert post("/v1/chat/completions", [])[0] == 400
    assert post("/v1/chat/completions", {**asked, "stream": True})[0] == 400
    assert post("/v1/embeddings", {})[0] == 404


def test_an_engine_that_is_not_installed_is_one_line(run: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="--engine vllm is not installed"):
        serve(run, 0, "vllm")


def test_an_upload_without_a_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", _offline)
    with pytest.raises(ModelError, match=r"org/name cannot be written \(no route\)") as caught:
        hub.push(tmp_path, "org/name")
    assert "\n" not in str(caught.value)
    for wrong in ("name", "a/b/c", "/x", "x/"):
        with pytest.raises(ConfigError, match="ORG/NAME"):
            hub.check_name(wrong)


def _offline(*_: object, **__: object) -> None:
    import httpx

    raise httpx.ConnectError("no\nroute")
