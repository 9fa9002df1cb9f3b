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

    _, config, made = world.student("pruned, floor 0.5, T 0.25", "validation")
    table = schemas.read(made["weights"] / "weights.parquet", schemas.WEIGHTS)
    best = oracle(world, table, made, config)
    heaviest, needed, tokens, keys, weights = [], [], [], [], []
    for row in table.to_pylist():
        weight, step = np.asarray(row["weight"]), np.asarray(row["step"])
        key = best[row["question_id"], row["sample"]]
        weights.append(weight)
        keys.append(key)
        for number in np.unique(step):
            heaviest.append(weight[step == number].max())
            needed.append(key[step == number].any())
            tokens.append(int((step == number).sum()))
    heavy, need, size = np.array(heaviest), np.array(needed), np.array(tokens)
    return {
        "seed": world.seed,
        "auc": round(float(roc_auc_score(np.concatenate(keys) > 0, np.concatenate(weights))), 4),
        "not_needed": round(float((~need).mean()), 4),
        "not_needed_tokens": round(float(size[~need].sum() / size.sum()), 4),
        "left_out": {str(x): [round(float((heavy[group] < x).mean()), 4) for group in (~need, need)] for x in LEAST},
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
        f"| seed | AUC | steps without | their tokens |{''.join(f' {x}: without, with |' for x in LEAST)}",
        f"|{'---|' * (4 + len(LEAST))}",
    ]  # fmt: skip
    for row in rows:
        shares = [f"{100 * row[key]:.1f}%" for key in ("not_needed", "not_needed_tokens")]
        gone = [", ".join(f"{100 * share:.1f}%" for share in pair) for pair in row["left_out"].values()]
        lines.append(f"| {row['seed']} | {row['auc']:.3f} | {' | '.join([*shares, *gone])} |")
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
