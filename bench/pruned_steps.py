"""Which steps the learned token weights leave out in the worlds of recipe_search.py, and how well they rank tokens.

    python bench/pruned_steps.py FOLDER --seeds 0,1,2,3     # FOLDER as in recipe_search.py, whose stages it shares

A step is needed if it has an equation. AUC: numbers and signs of equations against all other tokens. Writes
bench/results/pruned_steps.json and .md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from recipe_search import World, oracle
from sklearn.metrics import roc_auc_score

RESULT = Path(__file__).parent / "results" / "pruned_steps"
LEAST = (0.05, 0.1, 0.2)  # of distill.prune_steps


def measure(world: World) -> dict[str, Any]:
    from kpod import schemas

    config, made = world.before("pruned, floor 0.5", "validation")
    table = schemas.read(made["weights"] / "weights.parquet", schemas.WEIGHTS)
    best = oracle(world, table, made, config)
    rows = table.to_pylist()
    weights, ids = (np.concatenate([row[name] for row in rows]) for name in ("weight", "token_ids"))
    mean = np.bincount(ids, weights) / np.maximum(np.bincount(ids), 1)
    heaviest, single, needed, tokens, keys = [], [], [], [], []
    for row in rows:
        step, key = np.asarray(row["step"]), best[row["question_id"], row["sample"]]
        keys.append(key)
        for number in np.unique(step):
            here = step == number
            heaviest.append(mean[np.asarray(row["token_ids"])[here]].max())
            single.append(np.asarray(row["weight"])[here].max())
            needed.append(key[here].any())
            tokens.append(int(here.sum()))
    heavy, alone, need, size = (np.array(one) for one in (heaviest, single, needed, tokens))
    return {
        "seed": world.seed,
        "auc": round(float(roc_auc_score(np.concatenate(keys) > 0, weights)), 4),
        "not_needed": round(float((~need).mean()), 4),
        "not_needed_tokens": round(float(size[~need].sum() / size.sum()), 4),
        "mean_weight": round(float(weights.mean()), 4),
        "left_out": {str(x): [round(float((heavy[group] < x).mean()), 4) for group in (~need, need)] for x in LEAST},
        "by_single_weights": [round(float((alone[group] < 0.1).mean()), 4) for group in (~need, need)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3")
    options = parser.parse_args()
    rows = [measure(World(options.folder, int(seed))) for seed in options.seeds.split(",")]
    RESULT.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "# Steps that learned weights leave out", "", "`python bench/pruned_steps.py FOLDER`", "",
        "Of the steps without an equation, and of those with one, the share that `distill.prune_steps` leaves out:", "",
        f"| seed | AUC | mean weight | steps without | their tokens |{''.join(f' {x}: without, with |' for x in LEAST)}"
        " 0.1, by single weights |",
        f"|{'---|' * (6 + len(LEAST))}",
    ]  # fmt: skip
    for row in rows:
        shares = [f"{100 * row[key]:.1f}%" for key in ("not_needed", "not_needed_tokens")]
        pairs = [*row["left_out"].values(), row["by_single_weights"]]
        gone = [", ".join(f"{100 * share:.1f}%" for share in pair) for pair in pairs]
        first = [str(row["seed"]), f"{row['auc']:.3f}", f"{row['mean_weight']:.3f}"]
        lines.append(f"| {' | '.join([*first, *shares, *gone])} |")
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
