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
    """Wall and CPU time from the first optimizer step's start to the last one's end."""

    def __init__(self) -> None:
        self.total = 0.0  # CPU seconds of what is not the loop
        self.start()

    def start(self) -> None:
        self.began = time.monotonic(), time.process_time()

    def figures(self, target_tokens: int) -> dict[str, float]:
        wall, cpu = time.monotonic() - self.began[0], time.process_time() - self.began[1]
        return {"seconds": wall, "cpu_seconds": cpu, "target_tokens": target_tokens}


def warm_up(model: torch.nn.Module) -> None:
    """One pass forth and back, so that no system pays for the first use of the libraries."""
    ids = torch.arange(3, 403).reshape(2, 200)
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad(set_to_none=True)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def flop(model: Any, rows: list[Any], targets: int) -> float:
    """Of training on rows without padding: six a weight and token, the output layer at target positions only.

    A given token costs what a prompt's costs: later tokens see it, and through them the loss reaches its weights.
    """
    head = model.get_output_embeddings().weight.numel()
    body = sum(value.numel() for value in model.parameters()) - head  # tied: the embedding is the head
    return 6.0 * (body * sum(row.tokens - 1 for row in rows) + head * targets)


def kpod(options: argparse.Namespace) -> dict[str, Any]:
    from kpod.config import Budget, Distill
    from kpod.methods import task
    from kpod.methods.train import train
    from kpod.training import models, passes
    from kpod.training.engine import Engine
    from kpod.training.examples import ANSWER, Example

    clock, feeding = Clock(), Clock()
    run_on, collate = Engine.run, passes.collate

    def timed(engine: Any) -> Any:
        clock.start()
        return run_on(engine)

    def watched(*rows: Any) -> Any:
        started = time.process_time()
        batch = collate(*rows)
        feeding.total += time.process_time() - started
        return batch

    Engine.run, passes.collate = timed, watched
    data = arrays(options.rows)
    given = np.load(options.rows)["given"]
    examples = [
        Example((f"{i:06}", 0), prompt, target, np.ones(len(target), np.float32), np.where(step < 0, ANSWER, step))
        for i, (prompt, target, step) in enumerate(zip(data["prompt"], data["target"], data["step"], strict=True))
    ]
    settings = Distill(
        budget=Budget(epochs=1),
        batch_size=options.batch,
        micro_batch=options.batch,
        lr=1e-5,
        decay="constant",
        precision="fp32",
        adapter={"kind": options.adapter},
        compile=options.compile,
        checkpoint_seconds=1e9,
    )
    # The rows lie in the order of training already; batches are those of the other system.
    task.epoch_batches = lambda lengths, size, seed, epoch: [
        np.arange(at, min(at + size, len(lengths))) for at in range(0, len(lengths), size)
    ]
    model, tokenizer = models.load(options.model)
    warm_up(model)

    def trained(input_steps: Any) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as work:
            feeding.total = 0.0
            history = train(model, tokenizer, examples, settings, input_steps, Path(work)).history
        figures = clock.figures(history[-1]["tokens"])
        return {**figures, "feeding_seconds": feeding.total, "flop": flop(model, examples, history[-1]["tokens"])}

    if options.compile:
        trained(None)
    result: dict[str, Any] = {"plain": trained(None), "peak_gib": peak_gib()}
    if options.stages:
        # A stage that gives nothing is what was just measured.
        stages = [row[None] for row in given]
        result["stages"] = [trained(f) if row.any() else result["plain"] for f, row in zip(stages, given, strict=True)]
    return result


def trl(options: argparse.Namespace) -> dict[str, Any]:
    import peft
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = Clock()
    tokens: list[int] = []

    class Marks(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            tokens.clear()
            clock.start()

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            tokens.append(int((inputs["labels"] != -100).sum()))
            return super().training_step(model, inputs, *rest)

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(dataset if dataset is not None else self.train_dataset)

    data = arrays(options.rows)
    lengths = [len(p) + len(t) for p, t in zip(data["prompt"], data["target"], strict=True)]
    lora = peft.LoraConfig(r=64, lora_alpha=128, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    # A packed row holds as many tokens as a padded batch has real ones, with room for the rows to fit.
    packed = int(1.05 * max(sum(lengths[at : at + options.batch]) for at in range(0, len(lengths), options.batch)))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    warm_up(model)

    def trained(given: Any) -> dict[str, float]:
        """`given` [rows]: leading steps of each row that are masked as the prompt is."""
        columns = zip(data["prompt"], data["target"], data["step"], given, strict=True)
        rows = [
            ([*p.tolist(), *t.tolist()], [0] * len(p) + ((step >= count) | (step < 0)).astype(int).tolist())
            for p, t, step, count in columns
        ]
        dataset = Dataset.from_dict(
            {"input_ids": [row[0] for row in rows], "completion_mask": [row[1] for row in rows]}
        )
        with tempfile.TemporaryDirectory() as work:
            settings = SFTConfig(
                output_dir=work,
                num_train_epochs=1,
                per_device_train_batch_size=1 if options.packing else options.batch,
                packing=options.packing,
                max_length=packed if options.packing else max(lengths),
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
                model=model,
                processing_class=tokenizer,
                args=settings,
                train_dataset=dataset,
                peft_config=lora if options.adapter == "lora" else None,
                callbacks=[Marks()],
            )
            trainer.train()
        return clock.figures(sum(tokens))

    plain = trained([0] * len(lengths))
    result: dict[str, Any] = {"plain": plain, "peak_gib": peak_gib(), "steps": len(tokens)}
    if options.stages:
        given = np.load(options.rows)["given"]
        result["stages"] = [trained(row) if row.any() else plain for row in given]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=["kpod", "trl"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--adapter", choices=["full", "lora"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--stages", action="store_true", help="each stage of the curriculum too")
    parser.add_argument("--compile", action="store_true", help="kpod: compiled, measured behind a run that compiles")
    arguments = parser.parse_args()
    print(json.dumps({"kpod": kpod, "trl": trl}[arguments.system](arguments)))
