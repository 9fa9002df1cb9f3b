"""Speed and memory on a GPU, a process a part; run by gpu.sh. Random weights of real shapes: nothing is downloaded.

Parts: `sft` (tokens a second, share of the peak, memory against `kpod.estimate`), `trl` (the same rows by TRL where
installed), `memory` (of a 1.5-billion LoRA on rows of one length), `attention` (each kernel that is installed),
`weights`, `difficulty`, `generate` (the built-in generator), `vllm` (where installed). Writes one JSON file after each
part; a part that fails or takes too long says so in it, and the next one goes on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM

from kpod.config import Difficulty, Distill, Evaluate, Form, Lora, Weights
from kpod.errors import ConfigError
from kpod.estimate import memory
from kpod.estimate.hours import GPUS
from kpod.estimate.student import Shape
from kpod.evaluate import vllm
from kpod.evaluate.generate import Question, generate
from kpod.methods.train import train
from kpod.questions.wordproblems import easy
from kpod.store.files import publish
from kpod.student.pretrain import build_tokenizer
from kpod.text.chat import resolve
from kpod.training import head, models
from kpod.training.batches import collate
from kpod.training.examples import ANSWER, Example, Examples
from kpod.training.extras import check_attention, check_vllm
from kpod.training.head import TargetNll
from kpod.weighting.build import build_predictor, build_weighter, predictor_precision
from kpod.weighting.examples import usable
from kpod.weighting.train import Training

SMALL = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
         "num_key_value_heads": 3, "vocab_size": 49_152}  # fmt: skip  # of SmolLM2-135M
LARGE = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
         "num_key_value_heads": 2, "vocab_size": 151_936}  # fmt: skip  # of Qwen2.5-1.5B
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
       "num_key_value_heads": 2, "vocab_size": 2048}  # fmt: skip
LORA = Lora(rank=64, alpha=128)
SECONDS = {  # 580 in sum; the tests take 130 at most
    "sft": 110, "trl": 110, "memory": 60, "attention": 80, "weights": 60, "difficulty": 35, "generate": 35, "vllm": 90,
}  # fmt: skip


class Bench:
    """Models, rows and the clock, at full or toy size."""

    def __init__(self, smoke: bool, students: Path) -> None:
        self.smoke, self.cuda, self.students = smoke, torch.cuda.is_available(), students
        self.small, self.large = (TOY, TOY) if smoke else (SMALL, LARGE)
        self.precision: Any = "bf16" if self.cuda else "fp32"
        self.work = Path(tempfile.mkdtemp(prefix="kpod-gpu-"))

    def config(self, shape: dict[str, Any]) -> LlamaConfig:
        return LlamaConfig(
            **shape, tie_word_embeddings=True, max_position_embeddings=2048, pad_token_id=0, eos_token_id=0
        )

    def folder(self, shape: dict[str, Any]) -> Path:
        """A student of random weights, saved once for all parts."""
        folder = self.students / f"student-{shape['hidden_size']}"
        if not folder.exists():
            torch.manual_seed(0)
            with models.device():  # a billion random numbers take long on a CPU
                model = LlamaForCausalLM(self.config(shape)).to(torch.bfloat16 if self.cuda else torch.float32)
            models.save(model, build_tokenizer(easy(50, 0, "stories")), self.work / folder.name)
            publish(self.work / folder.name, folder)  # a part that is killed leaves none
        return folder

    def rows(self, count: int, vocabulary: int, target: int | None = None) -> list[Example]:
        """Random ids with the lengths of worked word problems, or of one length."""
        draw, made = np.random.default_rng(0), []
        for i in range(count):
            p = 70 if target else int(np.clip(draw.lognormal(4.2, 0.3), 30, 160))
            n = target or int(np.clip(draw.lognormal(4.7, 0.4), 40, 300))
            ids = draw.integers(3, vocabulary, p + n).astype(np.int32)
            step = np.where(np.arange(n) < n - 12, np.arange(n) // 25, ANSWER).astype(np.int32)
            made.append(Example((f"q{i:06}", 0), ids[:p], ids[p:], np.ones(n, np.float32), step))
        return made

    def sync(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def distill(self, adapter: str, batch: int, **more: Any) -> Distill:
        return Distill(
            budget={"epochs": 1}, batch_size=batch, micro_batch=batch, lr=1e-5, decay="constant", warmup=0.0,
            precision=self.precision, adapter=LORA if adapter == "lora" else {"kind": "full"},
            token_weights=False, progressive=False, checkpoint_seconds=1e9, **more,
        )  # fmt: skip

    def trained(self, shape: dict[str, Any], config: Distill, rows: list[Example], name: str) -> dict[str, float]:
        """Rates of training on `rows`, by `steady`; peak memory against `kpod.estimate`."""
        loaded = config.precision if config.adapter.kind == "lora" else "fp32"
        folder = self.folder(shape)

        def run(part: list[Example]) -> None:
            model, tokenizer = models.load(folder, loaded, config.attn_implementation)  # LoRA leaves it merged, in fp32
            work = self.work / f"{name}-{len(part)}"
            shutil.rmtree(work, ignore_errors=True)
            train(model, tokenizer, part, config, None, work)

        found = self.steady(run, rows, config.batch_size)
        told, flop = memory.distillation(Shape(self.config(shape)), config, _longest(rows))
        found["estimated_gb"] = told.total / 1e9
        if self.cuda:
            found["estimate_by_measured"] = found["estimated_gb"] / found["peak_gb"]
            if peak := _peak():
                found["share_of_peak"] = flop * found["tokens_a_second"] / peak
        return found

    def steady(self, run: Callable[[list[Example]], None], rows: list[Example], batch: int) -> dict[str, float]:
        """Tokens a second of `run` without what it takes however many rows it is given, and the peak memory.

        It is given one batch to warm up, then a fifth of `rows` and all of them: the difference counts.
        """
        run(rows[:batch])
        took = []
        for part in (rows[: len(rows) // 5], rows):
            if self.cuda:
                torch.cuda.reset_peak_memory_stats()
            started = self.sync()
            run(part)
            tokens, targets = (sum(row.tokens for row in part), sum(len(row.target) for row in part))
            took.append((self.sync() - started, tokens, targets))
        seconds, tokens, targets = (after - before for before, after in zip(*took, strict=True))
        found = {
            "tokens_a_second": tokens / seconds,
            "target_tokens_a_second": targets / seconds,
            "seconds": took[1][0],
        }
        return found | ({"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if self.cuda else {})


def sft(bench: Bench) -> dict[str, Any]:
    result: dict[str, Any] = {"loss": "liger-kernel" if bench.cuda and head._liger() else "chunks"}
    for name, shape, adapter, batch, rows in _cases(bench):
        result[name] = bench.trained(shape, bench.distill(adapter, batch), rows, name)
    return result


def trl(bench: Bench) -> dict[str, Any]:
    return {name: _trl(bench, shape, adapter, batch, rows) for name, shape, adapter, batch, rows in _cases(bench)}


def _cases(bench: Bench) -> Iterator[tuple[str, dict[str, Any], str, int, list[Example]]]:
    for name, shape, adapter, batch in (
        ("small, full", bench.small, "full", 32),
        ("large, LoRA", bench.large, "lora", 16),
    ):
        rows = bench.rows(16 if bench.smoke else 40 * batch, shape["vocab_size"])
        yield name, shape, adapter, 4 if bench.smoke else batch, rows


def _trl(bench: Bench, shape: dict[str, Any], adapter: str, batch: int, rows: list[Example]) -> dict[str, Any]:
    """TRL's SFTTrainer on the same rows in batches of like length."""
    try:
        import peft
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        return {"left_out": f"{error}"}
    folder = bench.folder(shape)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lora = peft.LoraConfig(r=64, lora_alpha=128, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    dtype = torch.bfloat16 if bench.cuda and adapter == "lora" else torch.float32

    class InOrder(SFTTrainer):  # its own sampler mixes lengths
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    def run(part: list[Example]) -> None:
        ordered = sorted(part, key=lambda row: row.tokens)
        data = Dataset.from_dict({
            "input_ids": [[*row.prompt.tolist(), *row.target.tolist()] for row in ordered],
            "completion_mask": [[0] * len(row.prompt) + [1] * len(row.target) for row in ordered],
        })  # fmt: skip
        settings = SFTConfig(
            output_dir=str(bench.work / "trl"), num_train_epochs=1, per_device_train_batch_size=batch,
            max_length=2048, learning_rate=1e-5, lr_scheduler_type="constant", bf16=bench.cuda, use_cpu=not bench.cuda,
            gradient_checkpointing=False, completion_only_loss=True, save_strategy="no", report_to="none",
            logging_steps=1000, disable_tqdm=True, shuffle_dataset=False,
        )  # fmt: skip
        trainer = InOrder(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), processing_class=tokenizer, args=settings,
            train_dataset=data, peft_config=lora if adapter == "lora" else None,
        )  # fmt: skip
        trainer.train()

    return bench.steady(run, rows, batch)


def _against_trl(parts: dict[str, Any]) -> dict[str, float]:
    """Tokens a second, kpod's by TRL's, of the cases that both have run."""
    ours, theirs, key = parts.get("sft", {}), parts.get("trl", {}), "tokens_a_second"
    return {
        name: ours[name][key] / found[key]
        for name, found in theirs.items()
        if isinstance(found, dict) and key in found and name in ours
    }


def peak_memory(bench: Bench) -> dict[str, Any]:
    """Rows of one length, so that the estimate is of this very batch."""
    result: dict[str, Any] = {}
    for checkpointed in (False, True):
        config = bench.distill("lora", 4 if bench.smoke else 16, gradient_checkpointing=checkpointed)
        rows = bench.rows(2 * config.batch_size, bench.large["vocab_size"], target=180)
        name = "checkpointed" if checkpointed else "plain"
        result[name] = bench.trained(bench.large, config, rows, f"memory-{name}")
    return result


def attention(bench: Bench) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for chosen in ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"):
        try:
            check_attention(chosen)
        except ConfigError as error:
            result[chosen] = {"left_out": str(error)}
            continue
        config = bench.distill("lora", 4 if bench.smoke else 16, attn_implementation=chosen)
        rows = bench.rows(config.batch_size * (2 if bench.smoke else 10), bench.large["vocab_size"])
        try:
            result[chosen] = bench.trained(bench.large, config, rows, chosen)
        except Exception as error:  # one kernel that fails leaves the others
            result[chosen] = {"failed": f"{type(error).__name__}: {error}"[:300]}
    return result


def weights(bench: Bench) -> dict[str, Any]:
    shape = bench.large
    settings = Weights(
        precision=bench.precision, predictor_adapter="lora", batch_size=4 if bench.smoke else 32, batch_tokens=16_384,
        warmup=1, epochs=0, validation=0.0, heads=4,
    ).for_predictor(0)  # fmt: skip
    student, tokenizer = models.load(bench.folder(shape), predictor_precision(settings))
    predictor, _ = build_predictor(student, tokenizer, settings)
    embedding = student.get_input_embeddings()
    made = Examples.of(bench.rows(settings.batch_size * (2 if bench.smoke else 10), shape["vocab_size"]))
    rows, _ = usable(made.tokens, settings.max_tokens)
    for turn in range(2):
        started = bench.sync()
        weighter = build_weighter(embedding, settings)
        Training(rows, weighter, embedding, predictor, settings, bench.work / f"weights-{turn}").run()
        seconds = bench.sync() - started
    return {"rationales_a_second": len(rows) / seconds, "seconds": seconds}


def difficulty(bench: Bench) -> dict[str, Any]:
    """The passes of the stage over rows that lie in memory."""
    shape, settings = bench.large, Difficulty(precision=bench.precision, batch_tokens=16_384)
    model, tokenizer = models.load(bench.folder(shape), bench.precision)
    rows = sorted(bench.rows(16 if bench.smoke else 2000, shape["vocab_size"]), key=lambda row: row.tokens)
    losses = TargetNll(model)
    for _ in range(2):
        started, left = bench.sync(), list(rows)
        with torch.inference_mode():
            while left:
                part = left[-max(1, settings.batch_tokens // left[-1].tokens) :]
                left = left[: -len(part)]
                batch = collate(part, [0] * len(part), tokenizer.pad_token_id, None).to(models.device())
                losses(batch).cpu()
        seconds = bench.sync() - started
    return {"rationales_a_second": len(rows) / seconds, "tokens_a_second": sum(r.tokens for r in rows) / seconds}


def generation(bench: Bench) -> dict[str, Any]:
    """Random weights hardly ever end an answer: all are as long as allowed."""
    settings, asked = _asked(bench)
    model, tokenizer = models.load(bench.folder(bench.small), bench.precision)
    for turn in range(2):
        started = bench.sync()
        generate(model, tokenizer, asked, settings.batch_size, settings.max_new_tokens, bench.work / f"told-{turn}")
        seconds = bench.sync() - started
    return {"questions_a_second": len(asked) / seconds}


def generation_by_vllm(bench: Bench) -> dict[str, Any]:
    settings, asked = _asked(bench)
    folder = bench.folder(bench.small)
    try:
        check_vllm()
    except ConfigError as error:
        return {"left_out": str(error)}
    model, tokenizer = models.load(folder, bench.precision, where=torch.device("meta"))
    started = bench.sync()
    vllm.generate(folder, tokenizer, model.config, asked, settings, bench.work / "vllm", resolve(tokenizer, Form()))
    return {"questions_a_second": len(asked) / (bench.sync() - started), "note": "its start included"}


def _asked(bench: Bench) -> tuple[Evaluate, list[Question]]:
    count = 8 if bench.smoke else 512
    settings = Evaluate(precision=bench.precision, batch_size=count, max_new_tokens=16 if bench.smoke else 128)
    return settings, [(f"q{i:04}", problem[0], None) for i, problem in enumerate(easy(count, 0, "stories"))]


def _longest(rows: list[Example]) -> memory.Row:
    longest = max(rows, key=lambda row: row.tokens)
    return memory.Row(len(longest.prompt), len(longest.target) - 8, 8)


def _peak() -> float | None:
    """FLOP a second that the vendor gives for this GPU in bf16, if it is known."""
    name = torch.cuda.get_device_name().lower().replace(" ", "")
    return next((gpu.bf16 * 1e12 for key, gpu in GPUS.items() if key in name), None)


PARTS = {
    "sft": sft, "trl": trl, "memory": peak_memory, "attention": attention, "weights": weights, "difficulty": difficulty,
    "generate": generation, "vllm": generation_by_vllm,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="toy size, on any machine")
    parser.add_argument("--part", choices=PARTS, help="only this one, printed")
    parser.add_argument("--students", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        with tempfile.TemporaryDirectory() as own:
            print(json.dumps(PARTS[options.part](Bench(options.smoke, options.students or Path(own)))))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    command = f"sh bench/gpu.sh{' --smoke' if options.smoke else ''}"
    result: dict[str, Any] = {"command": command, "device": device, "torch": torch.__version__, "parts": {}}
    students = tempfile.mkdtemp(prefix="kpod-gpu-students-")
    for name in PARTS:
        started = time.monotonic()
        argv = [sys.executable, __file__, "--out", str(options.out), "--part", name, "--students", students]
        try:
            done = subprocess.run(
                argv + ["--smoke"] * options.smoke, capture_output=True, text=True, check=False,
                timeout=SECONDS[name] * (10 if options.smoke else 1),
            )  # fmt: skip
            told = json.loads(done.stdout.splitlines()[-1]) if not done.returncode else {"failed": done.stderr[-1500:]}
        except subprocess.TimeoutExpired:
            told = {"failed": f"more than {SECONDS[name]} s"}
        result["parts"][name] = {**told, "wall_seconds": round(time.monotonic() - started, 1)}
        result["against_trl"] = _against_trl(result["parts"])
        print(name, json.dumps(told)[:600], flush=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print("against TRL", json.dumps(result["against_trl"]), flush=True)
    shutil.rmtree(students)
    if any("failed" in part for part in result["parts"].values()):
        sys.exit("a part failed")


if __name__ == "__main__":
    main()
