"""A task for lm-evaluation-harness: the same prompt, the same stops and the same judge over a local JSON file.

`write_task` makes a folder with the questions and the task file; the harness then runs the exported student:

    kpod export RUN student --lm-eval tasks
    lm_eval run --model hf --model_args pretrained=student,dtype=float32 --include_path tasks --tasks kpod

The harness needs this package beside it for the judge; it is imported by the task file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod.answers.equality import answers_equal
from kpod.answers.extract import extract_answer
from kpod.store.files import write_text
from kpod.text.prompts import prompt
from kpod.text.stops import STOPS, first_answer

TASK = """# Written by `kpod export --lm-eval`. Questions as kpod asks them, judged as kpod judges.
task: kpod
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
generation_kwargs:
  until: {stops}
  do_sample: false
  max_gen_toks: {tokens}
process_results: !function kpod.evaluate.lm_eval.process_results
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
  - metric: answerless
    aggregation: mean
    higher_is_better: false
metadata:
  version: 1
"""


def write_task(
    folder: Path,
    questions: pa.Table,
    asked: Sequence[str],
    max_new_tokens: int,
    ask: Callable[[str, Sequence[str] | None], str] = prompt,
    stops: Sequence[str] = STOPS,
) -> None:
    """Write kpod.yaml and questions.jsonl for those of the questions (schemas.QUESTIONS) whose ids are in `asked`.

    `ask` makes the prompt of a question and its options; the harness stops at `stops` and at EOS.
    """
    by_id = {row["id"]: row for row in questions.to_pylist()}
    rows = [by_id[name] for name in asked]
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / "questions.jsonl").absolute()
    write_text(path, "".join(json.dumps(_document(row, ask)) + "\n" for row in rows))
    write_text(
        folder / "kpod.yaml",
        TASK.format(questions=json.dumps(str(path)), stops=json.dumps(list(stops)), tokens=max_new_tokens),
    )


def process_results(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The harness's hook: figures of one completion."""
    predicted = extract_answer(first_answer(results[0]), document["choices"] or None)
    return {
        "accuracy": float(answers_equal(predicted, document["answer"])),
        "answerless": float(predicted is None),
    }


def _document(row: Mapping[str, Any], ask: Callable[[str, Sequence[str] | None], str]) -> dict[str, Any]:
    # A column that is null throughout has no type in the harness's JSON reader, so there are always choices.
    return {
        "question_id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "prompt": ask(row["question"], row["choices"]),
        "answer": row["answer"],
        "choices": row["choices"] or [],
    }
