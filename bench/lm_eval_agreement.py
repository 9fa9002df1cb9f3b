"""Does lm-evaluation-harness see what kpod saw? The exported student and the exported task, question by question.

    python bench/lm_eval_agreement.py RUN/METHOD --lm-eval VENV/bin/lm_eval

RUN is a finished pipeline under KPOD_HOME. The harness lives in an environment of its own (bench/lm_eval_env.sh).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from kpod.evaluate.lm_eval import process_results
from kpod.run import results

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


def harness(lm_eval: Path, student: Path, tasks: Path, out: Path, batch_size: int) -> dict[str, dict]:
    """The harness's samples by question id."""
    command = [
        str(lm_eval), "run", "--model", "hf", "--model_args", f"pretrained={student},dtype=float32",
        "--device", "cpu", "--include_path", str(tasks), "--tasks", "kpod", "--batch_size", str(batch_size),
        "--log_samples", "--output_path", str(out),
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out / "datasets")}
    subprocess.run(command, env=env, check=True)
    (file,) = out.rglob("samples_kpod_*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {row["doc"]["question_id"]: row for row in rows}


def completion(sample: dict) -> str:
    """What the student wrote, as the harness kept it."""
    return str(sample["resps"][0][0]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--lm-eval", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    ours = {row["question_id"]: row for row in results.predictions_of(arguments.run).to_pylist()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results.export_student(arguments.run, folder / "student")
        results.export_task(arguments.run, folder / "tasks")
        theirs = harness(arguments.lm_eval, folder / "student", folder / "tasks", folder / "out", arguments.batch_size)
    assert ours.keys() == theirs.keys(), "the harness asked other questions"
    same_text = [name for name in ours if ours[name]["completion"] == completion(theirs[name])]
    same_verdict = [name for name in ours if float(ours[name]["correct"]) == theirs[name]["accuracy"]]
    judged_alike = [
        name for name, row in ours.items()
        if process_results(theirs[name]["doc"], [row["completion"]])["accuracy"] == float(row["correct"])
    ]  # fmt: skip
    found = {
        "questions": len(ours),
        "same completion": len(same_text),
        "same verdict": len(same_verdict),
        "same predictions judged alike": len(judged_alike),
        "accuracy kpod": sum(row["correct"] for row in ours.values()) / len(ours),
        "accuracy lm-eval": sum(row["accuracy"] for row in theirs.values()) / len(theirs),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU only",
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lm_eval_agreement.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    for name in ours.keys() - set(same_text):
        print(
            f"{name}\n  kpod:    {ours[name]['completion']!r}\n  lm-eval: {completion(theirs[name])!r}", file=sys.stderr
        )


if __name__ == "__main__":
    main()
