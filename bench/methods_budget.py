"""What KPOD trained on in a finished run, beside plain distillation: tokens, whole rationales, contrast of the weights.

    KPOD_HOME=... python bench/methods_budget.py RUN NAME      RUN: the MLflow id of a run of scotd and kpod

Sets the entry NAME in bench/results/methods_budget.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from kpod.run import results
from kpod.store import artifacts

RESULTS = Path(__file__).parent / "results" / "methods_budget.json"


def main(run: str, name: str) -> None:
    tokens = {method: per_epoch(run, method) for method in ("scotd", "kpod")}
    weights = [np.array(row) for row in column(f"{run}/kpod", "weights", "weights.parquet", "weight")]
    flat = np.concatenate(weights)
    plan = pq.read_table(folder(f"{run}/kpod", "curriculum") / "curriculum.parquet").to_pandas()
    answers = tokens["scotd"][0] - len(flat)  # every row once: template words, answer and EOS, which weigh 1
    low, high = np.quantile(flat, [0.05, 0.95])
    entry = {
        "rationales": len(weights),
        "target_tokens_by_epoch": tokens,
        "whole_rationales_by_epoch": [int((stage.input_steps == 0).sum()) for _, stage in plan.groupby("stage")],
        "mean_weight": round(float(flat.mean()), 3),
        "weight_95_over_5_percent": round(float(high / low), 2),
        "answer_share_of_loss_weight": {
            "scotd": round(answers / (answers + len(flat)), 3),
            "kpod": round(answers / (answers + float(flat.sum())), 3),
        },
    }
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, name: entry}, indent=1) + "\n")
    print(json.dumps(entry, indent=1))


def folder(run: str, stage: str) -> Path:
    found = results.result_of(run, stage)
    return artifacts.folder_of(found.stage, found.key)


def column(run: str, stage: str, file: str, name: str) -> list[Any]:
    return list(pq.read_table(folder(run, stage) / file)[name].to_pylist())


def per_epoch(run: str, method: str) -> list[int]:
    history = pq.read_table(folder(f"{run}/{method}", "distill") / "history.parquet").to_pandas()
    return [int(n) for n in np.diff([0, *history.groupby("epoch").tokens.last()])]


if __name__ == "__main__":
    main(*sys.argv[1:])
