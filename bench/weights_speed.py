"""Speed and memory of the weighter: all prefixes in one pass against a loop of passes, and batched inference.

    python bench/weights_speed.py [--work .bench-weights] [--seed 0] [--rationales 16] [--rounds 3]

Reads the data and the student that `bench/weights.py` left in --work. Each way of laying out prefixes runs in a process
of its own (for peak memory), the ways alternating round by round; the median of the CPU times counts, since other work
on a shared machine delays a process but is not counted to it. Writes results/weights_speed.json and .md.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
RESULT = Path(__file__).parent / "results" / "weights_speed.json"
PREFIXES = (4, 8, 16)
WAYS = ("one pass", "loop", "rows")
Figures = dict[str, Any]


def load(options: argparse.Namespace) -> tuple[Any, ...]:
    import torch
    from weights_world import world

    from kpod.config import Weights
    from kpod.text.table import Tokens
    from kpod.training import models
    from kpod.weighting.build import build_predictor, build_weighter
    from kpod.weighting.examples import usable

    torch.set_num_threads(1)
    inputs = world(options.work / str(options.seed), options.seed, 360)
    config = Weights(precision="fp32")
    student, tokenizer = models.load(inputs["base"] / "student")
    predictor, reader = build_predictor(student, tokenizer, config)
    examples, _ = usable(Tokens.read(inputs["tokens"]), 512, unknown=reader.unk_token_id)
    embedding = student.get_input_embeddings()
    return examples, embedding, build_weighter(embedding, config), predictor, config


def train(options: argparse.Namespace, way: str) -> Figures:
    """`step_of` for each number of prefixes, rising, so that the peak of memory so far is the last one's."""
    loaded = load(options)
    return {str(prefixes): step_of(options, way, prefixes, *loaded) for prefixes in PREFIXES}


def step_of(
    options: argparse.Namespace, way: str, prefixes: int, examples: Any, embedding: Any, weighter: Any, predictor: Any,
    config: Any,
) -> Figures:  # fmt: skip
    """CPU seconds of one training step (forward, backward, optimizer) on the same rationales, prefixes and masks."""
    import torch

    from kpod.weighting.batch import collate
    from kpod.weighting.loss import backward, blank, losses
    from kpod.weighting.predictor import Separate

    if way != "one pass":
        predictor = Separate(predictor.model, predictor.template, predictor.eos)
    whole = collate(examples[: options.rationales], prefixes, 0, 0, torch.device("cpu"))
    if way == "loop":  # the k-th prefix of every rationale in one pass, then the next
        most = max(len(cut) for cut in whole.ends)
        parts = [replace(whole, ends=[cut[min(k, len(cut) - 1)][None] for cut in whole.ends]) for k in range(most)]
    else:
        parts = [whole]
    masked = blank(embedding)
    slow = [p for p in predictor.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([*weighter.parameters(), *slow], lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        for part in parts:
            found, drawn, leaf = losses(part, weighter, embedding, masked, predictor, config, 1.0)
            backward(found, drawn, leaf, weighter, config.alpha, len(whole) * len(parts))
        optimizer.step()

    step()
    spent = []
    for _ in range(options.steps):
        started = time.process_time()
        step()
        spent.append(time.process_time() - started)
    prompt = sum(len(e.prompt) for e in whole.examples)
    tokens = sum(len(e.rationale) for e in whole.examples)
    return {
        "cpu_seconds": statistics.median(spent),
        "rationale_tokens": tokens,
        "flops": flops(predictor.model, whole) if way == "one pass" else None,
        "prompt_tokens": prompt,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def flops(model: Any, batch: Any) -> float:
    """Forward and backward of the predictor on the tokens that are needed, without padding: 6 a weight and token
    for the layers (2 forward, 2 for the input's and 2 for the weight's gradient), 4 a weight and scored token for
    the tied, untrained output layer, and attention's 12 a pair of tokens that see each other, width and layer."""
    config = model.config
    table = model.get_input_embeddings().weight.numel()
    inner = sum(p.numel() for p in model.parameters()) - table
    total = 0.0
    for example, cuts in zip(batch.examples, batch.ends, strict=True):
        question, answer = len(example.prompt), len(example.answer) - 1
        context = question + example.visible
        pairs = context * (context + 1) / 2 + sum(
            answer * (question + int(c)) + answer * (answer + 1) / 2 for c in cuts
        )
        total += 6 * inner * (context + answer * len(cuts))
        total += 4 * table * len(cuts) * answer
        total += 12 * pairs * config.hidden_size * config.num_hidden_layers
    return total


def infer(options: argparse.Namespace) -> Figures:
    """Rationales a CPU second, batched against one at a time."""
    import torch

    from kpod.weighting.infer import infer as weigh

    examples, embedding, weighter, _, config = load(options)
    torch.set_num_threads(1)
    found = {}
    for name, limit in (("batched", config.batch_tokens), ("batch-1", 1)):
        weigh(examples[:16], weighter, embedding, limit)
        spent = []
        for _ in range(3):
            started = time.process_time()
            weigh(examples, weighter, embedding, limit)
            spent.append(time.process_time() - started)
        found[name] = len(examples) / statistics.median(spent)
    return found


def matmul_peak(rows: int, width: int) -> float:
    """FLOP a CPU second of fp32 products of the student's layer sizes, one thread."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(rows, width), torch.randn(width, 3 * width)
    best = float("inf")
    for _ in range(50):
        started = time.process_time()
        a @ b
        best = min(best, time.process_time() - started)
    return 2 * rows * width * 3 * width / best


def report(results: Figures) -> str:
    lines = [
        "# Weighter: speed and memory",
        "",
        f"{results['machine']}; {results['date']}; `{results['command']}`. Student of the demo (2 layers, width 128),",
        f"{results['rationales']} rationales a step, fp32. CPU seconds, median; the machine was shared. Goal: at",
        "least 3 times as fast as the loop at 8 prefixes.",
        "`loop`: one pass a prefix over all rows of the batch; `rows`: every prefix a row of one batch.",
        "",
        "| prefixes | way | CPU s a step | rationale tokens a CPU s | one pass is faster by | peak MB of the process |",
        "|---|---|---|---|---|---|",
    ]
    for prefixes in PREFIXES:
        one = results["train"][f"one pass {prefixes}"]
        for way in WAYS:
            run = results["train"][f"{way} {prefixes}"]
            ratio = run["cpu_seconds"] / one["cpu_seconds"]
            rate = run["rationale_tokens"] / run["cpu_seconds"]
            lines.append(
                f"| {prefixes} | {way} | {run['cpu_seconds']:.3f} | {rate:,.0f} | "
                f"{'' if way == 'one pass' else f'{ratio:.2f}'} | {run['peak_mb']:.0f} |"
            )
    share = ", ".join(f"{results['share'][str(k)]:.0%} at {k}" for k in PREFIXES)
    batched, single = results["infer"]["batched"], results["infer"]["batch-1"]
    return "\n".join(
        [
            *lines,
            "",
            "Share of the peak: the FLOPs that one step needs without padding (predictor, forward and backward), over",
            f"what an fp32 product of the layers' sizes does in that CPU time ({results['peak'] / 1e9:.1f} GFLOP/s):",
            f"{share} prefixes.",
            "",
            f"Inference: {batched:,.0f} rationales a CPU second batched, {single:,.0f} one at a time "
            f"({batched / single:.1f} times).",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".bench-weights"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rationales", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(infer(options) if options.one == "infer" else train(options, options.one)))
        return
    passed = [f"--{n}={getattr(options, n)}" for n in ("work", "seed", "rationales", "steps")]
    runs: dict[str, list[Figures]] = {}
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *passed, "--one", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for prefixes, found in json.loads(done.stdout.splitlines()[-1]).items():
                runs.setdefault(f"{way} {prefixes}", []).append(found)
                print(way, prefixes, found, flush=True)
    command = [sys.executable, __file__, *passed, "--one", "infer"]
    inferred = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    peak = matmul_peak(2048, 128)
    trained = {
        name: {
            **found[0],
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in found),
            "peak_mb": statistics.median(run["peak_mb"] for run in found),
        }
        for name, found in runs.items()
    }
    results = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, 1 thread",
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python bench/weights_speed.py --rounds {options.rounds} --steps {options.steps}",
        "rationales": options.rationales,
        "train": trained,
        "infer": inferred,
        "peak": peak,
        "share": {
            str(k): trained[f"one pass {k}"]["flops"] / trained[f"one pass {k}"]["cpu_seconds"] / peak for k in PREFIXES
        },
    }
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
