"""Does the weighter find keypoints? Area under the ROC of weight against what is known to matter.

    python bench/weights.py                                 # learned (defaults) and rule, seeds 0 1 2
    python bench/weights.py --name hard --set mask=hard     # another setting, beside the others in the results

The data are generated word problems with the scripted teacher's wording: the digits and signs of its equations are the
keypoints, its sentences of filler are not. Each seed draws its own questions and pretrains its own student (kept in
--work). The stage itself is run and its weights.parquet is scored. Writes results/weights.json and results/weights.md.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from weights_world import KINDS, truth, world

os.environ["TQDM_DISABLE"] = "1"
RESULT = Path(__file__).parent / "results" / "weights.json"
Figures = dict[str, Any]


def score(inputs: dict[str, Path], out: Path) -> Figures:
    """AUC of keypoints (operands, results, signs, =) against filler and against all other tokens; mean weights."""
    from sklearn.metrics import roc_auc_score
    from transformers import AutoTokenizer

    from kpod import schemas
    from kpod.text.tokens import token_spans

    tokenizer = AutoTokenizer.from_pretrained(inputs["base"] / "student", local_files_only=True)
    texts = schemas.read(inputs["rationales"] / "rationales.parquet", schemas.RATIONALES).to_pylist()
    found = {
        row["question_id"]: row for row in schemas.read(out / "weights.parquet", schemas.WEIGHTS).to_pylist()
    }  # fmt: skip
    spans = token_spans(tokenizer, [row["rationale"] for row in texts])
    kind = np.array([k for row, (_, s) in zip(texts, spans, strict=True) for k in truth(row["rationale"], s)])
    weight = np.concatenate([found[row["question_id"]]["weight"] for row in texts])
    key, filler = np.isin(kind, KINDS[:4]), kind == "filler"

    def auc(positive: np.ndarray, negative: np.ndarray) -> float:
        both = positive | negative
        return round(float(roc_auc_score(positive[both], weight[both])), 4)

    return {
        "auc": auc(key, filler),
        "auc_all": auc(key, ~key),
        "auc_of": {name: auc(kind == name, filler) for name in KINDS[:5]},
        "mean": {name: round(float(weight[kind == name].mean()), 4) for name in KINDS},
    }


def measure(options: argparse.Namespace, seed: int, changed: dict[str, Any]) -> Figures:
    from kpod import observe
    from kpod.config import Weights
    from kpod.weighting import stage

    inputs = world(options.work / str(seed), seed, options.rationales)
    out = options.work / str(seed) / f"weights-{os.getpid()}"
    out.mkdir(exist_ok=True)
    curve = Curve()
    started = time.process_time()
    with observe.observing(curve):
        figures = stage.run(inputs, Weights(**{"seed": seed, **changed}), out)
    spent = time.process_time() - started
    kept = ("weight", "answer_loss", "validation_answer_loss", "gradient", "collapsed")
    return {
        "seed": seed, **score(inputs, out), "cpu_seconds": round(spent, 1), "curve": curve.shown(),
        **{name: round(figures[name], 4) for name in kept if name in figures},
    }  # fmt: skip


class Curve:
    """The metrics that the stage reports, thinned out."""

    def __init__(self) -> None:
        self.rows: list[Figures] = []

    def progress(self, *_: object) -> None: ...

    def warning(self, message: str) -> None: ...

    def metrics(self, values: Figures, step: int) -> None:
        self.rows.append({"step": step, **{name: round(value, 4) for name, value in values.items()}})

    def shown(self) -> list[Figures]:
        steps = [row for row in self.rows if "answer_loss" in row]
        return steps[:: max(1, len(steps) // 10)] + [row for row in self.rows if "answer_loss" not in row]


def table(results: dict[str, Any]) -> str:
    """The Markdown beside the JSON."""
    lines = [
        "# Weights against known keypoints",
        "",
        "Area under the ROC, keypoint tokens (digits and signs of the scripted teacher's equations) against tokens of",
        "its filler sentences; `all` is against every other token. Each seed has its own questions and weighter; the",
        "student is the one in --work, pretrained for the seed if there is none. One thread on a shared machine; CPU",
        "seconds are those of the stage.",
        "",
        "| setting | seed | AUC | all | operand | result | sign | = | w: key / words / filler | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in results.items():
        for run in entry["runs"]:
            of, mean = run["auc_of"], run["mean"]
            key = np.mean([mean[k] for k in KINDS[:4]])
            cells = [name, run["seed"], f"**{run['auc']:.3f}**", f"{run['auc_all']:.3f}"]
            cells += [f"{of[k]:.3f}" for k in KINDS[:4]]
            cells += [f"{key:.2f} / {mean['words']:.2f} / {mean['filler']:.2f}", run["cpu_seconds"]]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    changed = [
        f"- `{name}`: {json.dumps(e['set'])} ({e['date']}, {e['machine']}). {e.get('note', '')}"
        for name, e in results.items()
    ]
    return "\n".join([*lines, "", "Settings beside the defaults of `kpod.config.Weights`:", "", *changed, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rationales", type=int, default=360)
    parser.add_argument("--name", help="Name in the results; default: learned and rule, as shipped.")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="Settings of kpod.config.Weights.")
    parser.add_argument("--work", type=Path, default=Path(".bench-weights"), help="Students and data are kept here.")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    asked = {options.name or "learned": dict(one.split("=", 1) for one in options.set)}
    if options.name is None:
        asked["rule"] = {"source": "rule"}
    results = json.loads(options.result.read_text()) if options.result.is_file() else {}
    for name, given in asked.items():
        changed = {key: yaml.safe_load(str(value)) for key, value in given.items()}
        runs = []
        for seed in options.seeds:
            runs.append(measure(options, seed, changed))
            print(name, json.dumps({k: v for k, v in runs[-1].items() if k != "curve"}), flush=True)
        results[name] = {
            "set": changed, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "rationales": options.rationales,
            "runs": runs,
        }  # fmt: skip
        options.result.write_text(json.dumps(results, indent=1) + "\n")
        options.result.with_suffix(".md").write_text(table(results))


def machine() -> str:
    return f"{platform.machine()}, Python {platform.python_version()}, 1 thread"


if __name__ == "__main__":
    main()
