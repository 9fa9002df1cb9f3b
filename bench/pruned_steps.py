"""Which steps learned token weights leave out, in the worlds of recipe_search.py and on real rationales.

    python bench/pruned_steps.py FOLDER --seeds 0,1,2,3,4     # FOLDER as in recipe_search.py, whose stages it shares
    python bench/pruned_steps.py --real WEIGHTS STUDENT NAME  # folders of the stages weights and base (base/student)

A step is needed if it has an equation; on real rationales, if it has a digit. Adds to bench/results/pruned_steps.json
and writes pruned_steps.md.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from recipe_search import World, oracle
from sklearn.metrics import roc_auc_score

RESULT = Path(__file__).parent / "results" / "pruned_steps"
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3)  # of distill.keypoints
WORLDS = {"alpha 1.0": "pruned, floor 0.5", "alpha 0.3": "pruned, alpha 0.3, floor 0.5"}
HEAD = """# Steps that learned weights leave out

`python bench/pruned_steps.py FOLDER --seeds 0,1,2,3,4`, `python bench/pruned_steps.py --real WEIGHTS STUDENT NAME`

Needed are steps with an equation, in real rationales those with a digit. *AUC of steps*: of the heaviest token of a
step, by its mean weight over all occurrences, for needed against other steps. The columns behind show the share that is
left out of the steps that are not needed, and of those that are: if keypoints are the heaviest tokens that make up a
share of all (`distill.keypoints`), or tokens with a mean weight of at least 0.1, whatever their share.
"""


def measure(table: pa.Table, needed: Callable[[dict[str, Any]], np.ndarray]) -> dict[str, Any]:
    """Figures of a table of schemas.WEIGHTS; `needed` tells which tokens of a row make a step needed, bool [n]."""
    from kpod.training.weights import keypoints

    rows = table.to_pylist()
    weights, ids = (np.concatenate([row[name] for row in rows]) for name in ("weight", "token_ids"))
    keys = np.concatenate([needed(row) for row in rows])
    length = np.array([len(row["step"]) for row in rows])
    count = np.array([max(row["step"]) + 1 for row in rows])
    first = np.repeat(np.cumsum(count) - count, length)
    step = np.concatenate([row["step"] for row in rows]) + first
    mean = np.bincount(ids, weights) / np.maximum(np.bincount(ids), 1)
    heaviest = np.zeros(count.sum())
    np.maximum.at(heaviest, step, mean[ids])
    need, size = np.bincount(step, keys) > 0, np.bincount(step)

    def left_out(keypoint: np.ndarray) -> list[float]:
        gone = np.bincount(step, keypoint[ids]) == 0
        return [round(float(gone[group].mean()), 4) for group in (~need, need)]

    return {
        "auc": round(float(roc_auc_score(keys, weights)), 4),
        "auc_of_steps": round(float(roc_auc_score(need, heaviest)), 4),
        "mean_weight": round(float(weights.mean()), 4),
        "deviation": round(float(weights.std()), 4),
        "steps": len(need),
        "not_needed": round(float((~need).mean()), 4),
        "not_needed_tokens": round(float(size[~need].sum() / size.sum()), 4),
        "left_out": {str(share): left_out(keypoints([(ids, weights)], share)) for share in SHARES},
        "by_weight": left_out(mean >= 0.1),
    }


def of_world(folder: Path, seed: int, setting: str) -> dict[str, Any]:
    from kpod import schemas

    world = World(folder, seed)
    config, made = world.before(setting, "validation")
    table = schemas.read(made["weights"] / "weights.parquet", schemas.WEIGHTS)
    best = oracle(world, table, made, config)
    return measure(table, lambda row: best[row["question_id"], row["sample"]] > 0)


def of_rationales(weights: Path, student: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from kpod import schemas

    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    table = schemas.read(weights / "weights.parquet", schemas.WEIGHTS)
    known = np.unique(np.concatenate(table["token_ids"].to_pylist()))
    digits = [number for number in known.tolist() if any(char.isdigit() for char in tokenizer.decode([number]))]
    return measure(table, lambda row: np.isin(row["token_ids"], digits))


def written(results: dict[str, dict[str, Any]]) -> str:
    shares = "".join(f" {share} |" for share in SHARES)
    lines = [
        HEAD,
        f"| weights | AUC of tokens | AUC of steps | mean weight | not needed: steps, tokens |{shares} weight 0.1 |",
        f"|{'---|' * (6 + len(SHARES))}",
    ]
    for name, row in sorted(results.items()):
        first = [name, f"{row['auc']:.3f}", f"{row['auc_of_steps']:.4f}"]
        first += [f"{row['mean_weight']:.3f} ± {row['deviation']:.3f}"]
        first += [", ".join(f"{100 * row[key]:.1f}%" for key in ("not_needed", "not_needed_tokens"))]
        pairs = [*row["left_out"].values(), row["by_weight"]]
        gone = [", ".join(f"{100 * share:.1f}%" for share in pair) for pair in pairs]
        lines.append(f"| {' | '.join([*first, *gone])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--real", nargs=3, metavar=("WEIGHTS", "STUDENT", "NAME"))
    options = parser.parse_args()
    file = RESULT.with_suffix(".json")
    results = json.loads(file.read_text()) if file.is_file() else {}
    if options.real:
        weights, student, name = options.real
        results[name] = of_rationales(Path(weights), Path(student))
    for seed in map(int, options.seeds.split(",")) if options.folder else ():
        for name, setting in WORLDS.items():
            results[f"generated, {name}, seed {seed}"] = of_world(options.folder, seed, setting)
    file.write_text(json.dumps(results, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(written(results))
    print(written(results))


if __name__ == "__main__":
    main()
