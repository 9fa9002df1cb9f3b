"""Mean weight of digits, operators, names, function words and filler on real rationales with a real student.

    python bench/weights_real.py NAME MODEL_FOLDER QUESTIONS.jsonl.gz RATIONALES.jsonl.gz [--limit 200] [--set ...]
    python bench/weights_real.py NAME --weighted FOLDER     # holds questions, rationales, steps, base, weights of a run

Questions hold `id`, `question`, `answer`; rationales hold `id`, `sample`, `rationale`, `correct`. Right ones only,
one a question. Filler is every token of a step without a digit; the other classes are counted in steps with one.
Adds NAME to results/weights_real.json and writes results/weights_real.md and .png anew.
"""

import argparse
import gzip
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

os.environ["TQDM_DISABLE"] = "1"
RESULT = Path(__file__).parent / "results" / "weights_real.json"
SHOWN = ("digit", "operator", "name", "function", "other", "mark", "filler")
COLUMNS = 3
Figures = dict[str, Any]


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def world(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The folders of the stages before `weights`, for the first right rationale of `limit` random questions."""
    from kpod import schemas
    from kpod.config import Form, Steps
    from kpod.steps import stage as steps
    from kpod.tokens import stage as tokens

    inputs = {name: folder / name for name in ("questions", "rationales", "steps", "base", "tokens")}
    for path in inputs.values():
        path.mkdir(parents=True, exist_ok=True)
    texts = {row["id"]: row for row in reversed(lines(options.rationales)) if row.get("correct", True)}
    asked = {row["id"]: row for row in lines(options.questions)}
    names = sorted(texts.keys() & asked.keys())
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))[: options.limit]]
    questions = [
        {
            "id": name, "dataset": options.name, "split": "train", "question": asked[name]["question"],
            "answer": str(asked[name]["answer"]), "choices": asked[name].get("choices"),
        }
        for name in names
    ]  # fmt: skip
    rows = [
        {
            "question_id": name, "sample": 0, "answer": str(asked[name]["answer"]), "correct": True, "kept": True,
            "rationale": texts[name]["rationale"], "drop_reason": None, "model": "stored", "finish_reason": "stop",
            "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": None,
        }
        for name in names
    ]  # fmt: skip
    schemas.write(inputs["questions"] / "questions.parquet", schemas.table(questions, schemas.QUESTIONS))
    schemas.write(inputs["rationales"] / "rationales.parquet", schemas.table(rows, schemas.RATIONALES))
    steps.run({"rationales": inputs["rationales"]}, Steps(), inputs["steps"])
    student = inputs["base"] / "student"
    if not student.exists():
        student.symlink_to(options.model.resolve())
    tokens.run(inputs, Form(), inputs["tokens"])
    return inputs


def by_class(inputs: dict[str, Path], out: Path) -> Figures:
    """Mean weight, share of tokens and rank of each class, and the AUC of digits and operators against the rest."""
    from sklearn.metrics import roc_auc_score
    from transformers import AutoTokenizer

    from kpod import schemas
    from kpod.text.rationales import read_rationales
    from kpod.text.tokens import token_spans
    from kpod.weighting.classes import classify

    tokenizer = AutoTokenizer.from_pretrained(inputs["base"] / "student", local_files_only=True)
    known = {one.key: one for one in read_rationales(*(inputs[n] for n in ("questions", "rationales", "steps")))}
    kinds: list[str] = []
    weights: list[float] = []
    for row in schemas.read(out / "weights.parquet", schemas.WEIGHTS).to_pylist():
        one = known[row["question_id"], row["sample"]]
        [(_, spans)] = token_spans(tokenizer, [one.text])
        counts = {k: any(c.isdigit() for c in one.text[a:b]) for k, (a, b) in enumerate(one.steps)}
        kinds += [
            kind if counts[step] else "filler"
            for kind, step in zip(classify(one.text, spans), row["step"], strict=True)
        ]
        weights += row["weight"]
    kind, weight = np.array(kinds), np.array(weights)
    high, low = np.isin(kind, ["digit", "operator"]), np.isin(kind, ["function", "filler"])
    present = [name for name in SHOWN if (kind == name).any()]
    return {
        "mean": {name: float(weight[kind == name].mean()) for name in present},
        "quartiles": {name: np.quantile(weight[kind == name], [0.25, 0.5, 0.75]).tolist() for name in present},
        "tokens": {name: int((kind == name).sum()) for name in present},
        "auc": float(roc_auc_score(high[high | low], weight[high | low])),
    }


def table(results: Figures) -> str:
    text = [
        "# Mean weight by class of token, real rationales",
        "",
        "Filler: every token of a step without a digit; the other classes stand in steps with one. AUC: digits and",
        "operators against function words and filler.",
        "",
        f"| run | {' | '.join(SHOWN)} | AUC | rationales | CPU s |",
        f"|---|{'---|' * (len(SHOWN) + 3)}",
    ]
    for name, run in results.items():
        cells = [f"{run['mean'][k]:.3f}" if k in run["mean"] else "" for k in SHOWN]
        text.append(
            f"| {name} | {' | '.join(cells)} | {run['auc']:.3f} | {run['rationales']} | {run['cpu_seconds']:.0f} |"
        )
    return "\n".join(
        [
            *text,
            "",
            *(f"- {n}: `{r['command']}`, {r['date']}, {r['machine']}. {r['note']}" for n, r in results.items()),
            "",
        ]
    )


def picture(results: Figures, path: Path) -> None:
    import matplotlib.pyplot as plt

    rows = -(-len(results) // COLUMNS)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(4.2 * COLUMNS, 3.2 * rows), squeeze=False, sharex=True, layout="constrained"
    )
    for axis in axes.flat[len(results) :]:
        axis.remove()
    for axis, (name, run) in zip(axes.flat, results.items(), strict=False):
        names = [k for k in SHOWN if k in run["mean"]][::-1]
        for place, kind in enumerate(names):
            low, _, high = run["quartiles"][kind]
            axis.plot([low, high], [place, place], color="#9ab", linewidth=5, solid_capstyle="butt")
            axis.plot(run["mean"][kind], place, "o", color="#135")
        axis.set_yticks(range(len(names)), names)
        axis.set_xlim(-0.02, 1.02)
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("weight (dot: mean, bar: middle half)")
        axis.set_title(name)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("questions", type=Path, nargs="?")
    parser.add_argument("rationales", type=Path, nargs="?")
    parser.add_argument("--weighted", type=Path, help="Stage folders of a finished run: nothing is trained here.")
    parser.add_argument("--note", default="", help="What the table should say about this run.")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="Settings of kpod.config.Weights.")
    parser.add_argument("--work", type=Path, default=Path(".bench-weights"))
    options = parser.parse_args()
    from kpod import observe
    from kpod.config import Weights
    from kpod.weighting import stage

    class Curve:
        def progress(self, *_: object) -> None: ...

        def warning(self, message: str) -> None: ...

        def metrics(self, values: Figures, step: int) -> None:
            rows.append({"step": step, **{k: round(v, 4) for k, v in values.items()}})
            print(rows[-1], flush=True)

    rows: list[Figures] = []
    figures: Figures = {}
    changed = {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in options.set)}
    started = time.process_time()
    if options.weighted:
        inputs = {name: options.weighted / name for name in ("questions", "rationales", "steps", "base")}
        out = options.weighted / "weights"
    else:
        folder = options.work / options.name
        shutil.rmtree(folder, ignore_errors=True)
        inputs = world(folder, options)
        out = folder / "weights"
        out.mkdir()
        with observe.observing(Curve()):
            figures = stage.run(inputs, Weights(**{"precision": "fp32", **changed}), out)
    results = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    results[options.name] = {
        **by_class(inputs, out),
        "cpu_seconds": time.process_time() - started,
        "rationales": len(pq.read_table(out / "weights.parquet")),
        "set": changed,
        "answer_loss": figures.get("answer_loss"),
        "validation_answer_loss": figures.get("validation_answer_loss"),
        "command": f"python bench/weights_real.py {options.name} "
        + ("--weighted FOLDER" if options.weighted else f"MODEL QUESTIONS RATIONALES --limit {options.limit}")
        + (f" --set {' '.join(options.set)}" if options.set else ""),
        "note": options.note,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, OMP {os.environ.get('OMP_NUM_THREADS')}",
        "curve": rows[:: max(1, len(rows) // 20)],
    }
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(table(results))
    picture(results, RESULT.with_suffix(".png"))
    print(table(results))


if __name__ == "__main__":
    main()
