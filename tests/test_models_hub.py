"""A student on its way to others: the card, the chat template, the endpoint, the upload."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import mlflow
import pytest
from chat_tokenizers import QWEN25, tokenizer
from configs import pipeline
from server_tools import ask
from test_distill_export import finished, script
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from kpod import tracking
from kpod.cli.app import app
from kpod.config import Distill, Form, Prompt
from kpod.errors import ConfigError, ModelError
from kpod.models import hub
from kpod.models.export import export, form_of
from kpod.models.serve import StudentServer, serve
from kpod.run.results import CONFIG, REFERENCES, result_of
from kpod.run.stages import SETTINGS
from kpod.store import artifacts
from kpod.store.files import sha256_tree
from kpod.teacher.http import HttpRequest
from kpod.text.chat import resolve
from kpod.text.formats import COT
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


@pytest.fixture
def pipeline_run(run: str) -> str:
    """A pipeline of two teachers with that student as `scotd`, and its evaluation."""
    shares = [{"endpoint": {"kind": "scripted"}, "name": name, "model": f"m-{name}", "share": 0.5} for name in "ab"]
    config = pipeline({"name": "mine", "teacher": None, "teachers": shares, "methods": ["scotd"]})
    evaluated = artifacts.folder_of("evaluate", "e")
    evaluated.mkdir(parents=True)
    row = {"dataset": "sums", "split": "test", "questions": 50, "correct": 20}
    sets = [{**row, "accuracy": 0.4, "low": 0.276, "high": 0.538}]
    (evaluated / "metrics.json").write_text(json.dumps({"sets": sets}))
    with tracking.run("evaluate", {}, {"kpod.stage": "evaluate", "kpod.cache_key": "e"}) as made:
        made.tag("kpod.sha256", sha256_tree(evaluated))
    refs = {"scotd.distill": result_of(run, "distill"), "scotd.evaluate": result_of(made.run_id, "evaluate")}
    mlflow.MlflowClient().log_metric(run, "distill.target_tokens", 421432)
    with tracking.run("mine", {}, {"kpod.stage": "pipeline", "kpod.methods": "scotd"}) as parent:
        parent.document(CONFIG, config.model_dump(mode="json"))
        parent.document(REFERENCES, {name: ref.model_dump() for name, ref in refs.items()})
    return parent.run_id


def test_the_card_tells_what_a_run_was_made_of_however_it_is_named(pipeline_run: str, tmp_path: Path) -> None:
    cards = []
    for number, named in enumerate((pipeline_run, pipeline_run[:8], "mine")):
        export(f"{named}/scotd", tmp_path / str(number))
        cards.append((tmp_path / str(number) / "README.md").read_text())
    assert len(set(cards)) == 1
    card = cards[0]
    assert "# mine: a student" in card
    assert "**Teacher**: m-a (50% of the questions), m-b (50% of the questions)" in card
    assert "**Student before distillation**: scratch" in card
    assert "**Method**: scotd" in card
    assert "**Training**: 421,432 target tokens" in card
    assert "| this student | sums | test | 50 | 20 | 40.0% | 27.6% to 53.8% |" in card
    assert f"`{pipeline_run}`" in card
    assert f"| questions | `{'ab' * 8}` |" in card


@pytest.fixture(name="online")
def _online(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.FakeHub]:
    with fake_hub.running() as found:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield found


def test_a_student_is_uploaded_byte_for_byte(run: str, tmp_path: Path, online: fake_hub.FakeHub) -> None:
    options = ["--push-to-hub", "org/name", "--license", "apache-2.0"]
    done = CliRunner().invoke(app, ["export", run, str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    assert f"uploaded to {online.url}/org/name" in done.output
    assert [(one["organization"], one["name"], one["visibility"]) for one in online.created] == [
        ("org", "name", "private")
    ]
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= written.keys()
    assert online.files == {"org/name": written}
    assert online.tokens >= {"Bearer hf_secret"}
    assert "hf_secret" not in done.output
    again = CliRunner().invoke(app, ["export", run, str(tmp_path / "x.gguf"), *options])
    assert isinstance(again.exception, ConfigError)
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses_is_one_line(status: int, tmp_path: Path, online: fake_hub.FakeHub) -> None:
    online.refuse = status
    with pytest.raises(ModelError, match=rf"org/name cannot be written \(.*{status}.*is complete$") as caught:
        hub.push(tmp_path, "org/name")
    assert "\n" not in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def installed(folder: Path, name: str) -> Path:
    """A program that notes its arguments and whether the student that they name is there, and ends with 7."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n"
        "there = [Path(one).exists() for one in sys.argv if 'student' in one]\n"
        f"Path({str(folder / 'asked')!r}).write_text(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:], there]))\n"
        "sys.exit(7)\n"
    )
    path.chmod(0o755)
    return path


def served_by(run: str, folder: Path, engine: str = "auto") -> list[object]:
    """The arguments of the engine that `kpod serve` started."""
    with pytest.raises(SystemExit) as ended:
        serve(run, 8123, engine)
    assert ended.value.code == 7
    return list(json.loads((folder / "asked").read_text()))


def test_the_first_engine_that_is_installed_serves(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("kpod.models.export.find_spec", lambda name: None)
    script(programs, "Path(sys.argv[3]).write_text('GGUF')")
    llama, vllm = installed(programs, "llama-server"), installed(programs, "vllm")
    asked = served_by(run, programs)
    assert asked[:2] == ["vllm", "serve"]
    assert asked[-1] == [True]
    assert asked[-5:-1] == ["--host", "127.0.0.1", "--port", "8123"]
    assert served_by(run, programs, "llama.cpp")[0] == "llama-server"
    vllm.unlink()
    asked = served_by(run, programs)
    assert (asked[0], asked[-1]) == ("llama-server", [True])
    assert asked[-5:-1] == ["--host", "127.0.0.1", "--port", "8123"]
    own: list[int] = []
    monkeypatch.setattr("kpod.models.serve.serve_forever", lambda handler, host, port: own.append(port))
    (programs / "convert_hf_to_gguf.py").unlink()
    serve(run, 8124)  # without a converter llama.cpp cannot read the student
    with pytest.raises(ConfigError, match=r"convert_hf_to_gguf\.py is not installed"):
        serve(run, 8124, "llama.cpp")
    llama.unlink()
    serve(run, 8125)
    assert own == [8124, 8125]


def test_the_server_of_kpod_itself_answers_on_loopback_until_it_is_interrupted(run: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kpod.cli", "serve", run, "--port", "0"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert ask(f"{url}/models")["data"][0]["id"] == "kpod"
        told = ask(f"{url}/chat/completions", {"messages": [{"role": "user", "content": "What?"}], "max_tokens": 3})
        assert told["usage"]["completion_tokens"] <= 3
    finally:
        server.send_signal(signal.SIGINT)
    assert server.wait(60) == 130


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
