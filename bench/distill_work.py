"""One measured training run of one system, in a process of its own: prints a line of JSON.

Used by distill.py with the interpreter of each system; imports only what its own system needs.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


def arrays(path: Path) -> dict[str, list[np.ndarray]]:
    """The rows: ragged int32 `prompt` and `target`, and `step` of each target token."""
    data = np.load(path)
    return {name: np.split(data[name], np.cumsum(data[f"{name}_length"])[:-1]) for name in ("prompt", "target", "step")}


class Clock:
    """Wall and CPU time at the end of each optimizer step; the first step warms up and is not counted."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        self.marks.append((time.monotonic(), time.process_time()))

    def figures(self) -> dict[str, float]:
        (wall, cpu), (last_wall, last_cpu) = self.marks[0], self.marks[-1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"seconds": last_wall - wall, "cpu_seconds": last_cpu - cpu, "peak_gib": peak}


def kpod(options: argparse.Namespace) -> dict[str, Any]:
    from kpod import models, observe
    from kpod.config import Distill
    from kpod.distill.examples import ANSWER, Example
    from kpod.distill.trainer import train

    clock, tokens = Clock(), []

    class Marks:
        def progress(self, *_: object) -> None: ...
        def warning(self, message: str) -> None: ...
        def metrics(self, values: dict[str, float], step: int) -> None:
            clock.mark()
            tokens.append(values["tokens"])

    data = arrays(options.rows)
    examples = [
        Example((f"{i}", 0), prompt, target, np.ones(len(target), np.float32), np.where(step < 0, ANSWER, step))
        for i, (prompt, target, step) in enumerate(zip(data["prompt"], data["target"], data["step"], strict=True))
    ]
    settings = Distill(
        epochs=1,
        batch_size=options.batch,
        micro_batch=options.batch,
        lr=1e-5,
        decay="constant",
        precision="fp32",
        adapter={"kind": options.adapter},
        checkpoint_seconds=1e9,
    )
    model, tokenizer = models.load(options.model)
    given = {example.key: int(options.given * (1 + example.step[example.step < ANSWER].max())) for example in examples}
    with observe.observing(Marks()), tempfile.TemporaryDirectory() as work:
        train(model, tokenizer, examples, settings, lambda epoch, key: given[key], Path(work))
    return {**clock.figures(), "target_tokens": int(tokens[-1] - tokens[0])}


def trl(options: argparse.Namespace) -> dict[str, Any]:
    import peft
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock, tokens = Clock(), []

    class Marks(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.mark()

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            tokens.append(int((inputs["labels"] != -100).sum()))
            return super().training_step(model, inputs, *rest)

    data = arrays(options.rows)
    rows = Dataset.from_dict(
        {
            "input_ids": [[*p.tolist(), *t.tolist()] for p, t in zip(data["prompt"], data["target"], strict=True)],
            "completion_mask": [
                [0] * len(p) + [1] * len(t) for p, t in zip(data["prompt"], data["target"], strict=True)
            ],
        }
    )
    lengths = [len(row) for row in rows["input_ids"]]
    lora = peft.LoraConfig(r=64, lora_alpha=128, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as work:
        settings = SFTConfig(
            output_dir=work,
            num_train_epochs=1,
            # A packed row holds as many tokens as a padded batch has real ones.
            per_device_train_batch_size=1 if options.packing else options.batch,
            packing=options.packing,
            max_length=int(options.batch * np.mean(lengths)) if options.packing else max(lengths),
            # Without packing, the same grouping by length as kpod's is asked for.
            train_sampling_strategy="group_by_length" if not options.packing else "random",
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            completion_only_loss=True,
            save_strategy="no",
            report_to="none",
            logging_steps=1000,
            dataloader_num_workers=0,
            disable_tqdm=True,
        )
        trainer = Counting(
            model=AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(options.model),
            args=settings,
            train_dataset=rows,
            peft_config=lora if options.adapter == "lora" else None,
            callbacks=[Marks()],
        )
        trainer.train()
    return {**clock.figures(), "target_tokens": sum(tokens[1:])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=["kpod", "trl"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--adapter", choices=["full", "lora"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--given", type=float, default=0.0, help="share of the steps that is input (kpod only)")
    parser.add_argument("--packing", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps({"kpod": kpod, "trl": trl}[arguments.system](arguments)))
