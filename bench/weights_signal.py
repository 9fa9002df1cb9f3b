"""What can the weighter learn? The worth of a rationale to the warmed-up predictor, and dL_p/dm by kind of token.

    python bench/weights_signal.py [--seed 0] [--set warmup=2 predictor_lr=0.0005 ...]

Trains the answer predictor alone (the stage's warm-up), then reads L_p with the whole rationale and with nothing of it,
for the whole and for the first step, and the mean gradient of L_p at the masks of each kind of token. Eq. 7 keeps a
token if its gradient is below -alpha / (tokens of the rationale). Writes results/weights_signal.json and .md.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from weights_world import KINDS, truth, world

os.environ["TQDM_DISABLE"] = "1"
RESULT = Path(__file__).parent / "results" / "weights_signal.json"
Figures = dict[str, Any]


def measure(inputs: dict[str, Path], changed: dict[str, Any], rationales: int) -> Figures:
    import torch

    from kpod.config import Weights
    from kpod.text.rationales import read_rationales
    from kpod.text.table import Tokens
    from kpod.text.tokens import token_spans
    from kpod.training import models
    from kpod.weighting.batch import collate
    from kpod.weighting.build import build_predictor, build_weighter
    from kpod.weighting.examples import usable
    from kpod.weighting.loss import blank
    from kpod.weighting.network import START
    from kpod.weighting.order import held_out
    from kpod.weighting.train import Training

    torch.set_num_threads(1)
    config = Weights(**{**changed, "epochs": 0})
    student, tokenizer = models.load(inputs["base"] / "student")
    embedding = student.get_input_embeddings()
    predictor, reader = build_predictor(student, tokenizer, config)
    folders = (inputs[name] for name in ("questions", "rationales", "steps"))
    known = {one.key: one for one in read_rationales(*folders)}
    examples, _ = usable(Tokens.read(inputs["tokens"]), config.max_tokens, unknown=reader.unk_token_id)
    with tempfile.TemporaryDirectory() as work:
        Training(examples, build_weighter(embedding, config), embedding, predictor, config, Path(work)).run()
    masked = blank(embedding)
    _, watched = held_out(examples, config.validation, None, config.seed)
    batch = collate(watched, "steps", config.seed, 10**6, torch.device("cpu"))

    def worth(keep: float) -> tuple[float, float]:
        """L_p with the whole rationale and with its first step, each token visible with chance `keep`."""
        with torch.no_grad():
            mask = (batch.uniform < keep).float()[..., None]
            nll = predictor.nll(batch, masked + mask * (embedding(batch.rationale) - masked))
        last = [float(row[len(cut) - 1]) for row, cut in zip(nll, batch.ends, strict=True)]
        return round(float(np.mean(last)), 3), round(float(nll[:, 0].mean()), 3)

    gradients: dict[tuple[str, bool], list[float]] = {}
    for start in range(0, min(rationales, len(examples)), config.batch_size):
        part = collate(
            examples[start : start + config.batch_size], config.prefixes, config.seed, 10**6, torch.device("cpu")
        )
        mask = (part.uniform < START).float().requires_grad_()
        nll = predictor.nll(part, masked + mask[..., None] * (embedding(part.rationale) - masked))
        (nll.sum(1) / torch.tensor([len(cut) for cut in part.ends])).sum().backward()
        for row, example in enumerate(part.examples):
            text = known[example.key].text
            kinds = truth(text, token_spans(tokenizer, [text])[0][1])
            final = max(i for i, kind in enumerate(kinds) if kind == "result")
            for place, kind in enumerate(kinds[: example.visible]):
                name = "last result" if place == final else kind
                gradients.setdefault((name, bool(mask[row, place])), []).append(float(mask.grad[row, place]))
    return {
        "worth": {name: worth(keep) for name, keep in (("all", 2.0), ("keep", START), ("none", -1.0))},
        "pressure": config.alpha / float(np.mean([len(e.rationale) for e in examples])),
        "gradient": {
            f"{kind}, {'kept' if kept else 'masked'}": [float(np.mean(g)), float(np.std(g) / len(g) ** 0.5), len(g)]
            for (kind, kept), g in sorted(gradients.items())
        },
    }


def table(results: Figures) -> str:
    lines = [
        "# What reaches the weighter",
        "",
        "After the predictor's warm-up, before the weighter trains. L_p in nats: whole rationale / first step only.",
        "Gradient: mean dL_p/dm of a token (negative: showing it helps the answer), with its standard error.",
        "`python bench/weights_signal.py`, one thread.",
    ]
    for name, run in results.items():
        worth = ", ".join(f"{k} {v[0]:.2f} / {v[1]:.2f}" for k, v in run["worth"].items())
        lines += ["", f"## {name} ({run['date']}, {json.dumps(run['set'])})", "", f"L_p with tokens shown: {worth}."]
        lines += [
            f"alpha / tokens of a rationale: {run['pressure']:.4f}.",
            "",
            "| kind | kept | masked |",
            "|---|---|---|",
        ]
        for kind in (*KINDS, "last result"):
            cells = [run["gradient"].get(f"{kind}, {state}") for state in ("kept", "masked")]
            shown = [f"{c[0]:+.4f} ± {c[1]:.4f} ({c[2]})" if c else "" for c in cells]
            lines.append(f"| {kind} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="defaults")
    parser.add_argument("--rationales", type=int, default=96)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="Settings of kpod.config.Weights.")
    parser.add_argument("--work", type=Path, default=Path(".bench-weights"))
    options = parser.parse_args()
    inputs = world(options.work / str(options.seed), options.seed, 360)
    changed = {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in options.set)}
    results = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    found = measure(inputs, {"seed": options.seed, **changed}, options.rationales)
    results[options.name] = {**found, "set": changed, "date": time.strftime("%Y-%m-%d")}
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(table(results))
    print(table({options.name: results[options.name]}))


if __name__ == "__main__":
    main()
