"""A task for lm-evaluation-harness with the same prompts, stops and verifier, over a local JSON file.

`write_task` makes a folder with the questions and the task file; the harness then runs the exported student:

    kpod export RUN student --lm-eval tasks
    lm_eval run --model hf --model_args pretrained=student,dtype=float32 --include_path tasks --tasks kpod

The task file imports this package, which must be installed beside the harness.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from kpod.answers.verifiers import Verifier
from kpod.config import Answer, Evaluate
from kpod.evaluate.generate import Completion
from kpod.evaluate.judge import examine
from kpod.store.files import write_text
from kpod.text.prompts import answer_format, prompt
from kpod.text.stops import STOPS, first_answer

_VERIFIER: TypeAdapter[Verifier | None] = TypeAdapter(Verifier | None)
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
    ids: Sequence[str],
    settings: Evaluate,
    ask: Callable[[str, Sequence[str] | None], str] = prompt,
    stops: Sequence[str] = STOPS,
) -> None:
    """Write kpod.yaml and questions.jsonl for the questions (schemas.QUESTIONS) with these ids.

    `ask` returns the prompt of a question and its options; generation stops at `stops` and at EOS. Answers are judged
    by the form and the verifier of `settings`; a verifier function of the user's must be importable in the harness.
    """
    judge = json.dumps(
        {
            "answer": settings.form.answer.model_dump(),
            "verifier": settings.verifier and settings.verifier.model_dump(),
            "asks_on": bool(stops),
        }
    )
    by_id = {row["id"]: row for row in questions.to_pylist()}
    rows = [by_id[name] for name in ids]
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / "questions.jsonl").absolute()
    write_text(path, "".join(json.dumps(_document(row, ask, judge)) + "\n" for row in rows))
    write_text(
        folder / "kpod.yaml",
        TASK.format(questions=json.dumps(str(path)), stops=json.dumps(list(stops)), tokens=settings.max_new_tokens),
    )


def process_results(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The hook of the harness: accuracy and answerless, 0 or 1, of one completion."""
    judge = json.loads(document["judge"])
    answer, verifier = Answer.model_validate(judge["answer"]), _VERIFIER.validate_python(judge["verifier"])
    row = {**document, "choices": document["choices"] or None}
    completion = first_answer(results[0]) if judge["asks_on"] else results[0].strip()
    form = answer_format(answer.kind, answer.template)
    outcome = examine(row, Completion(completion, truncated=False), verifier, form)
    return {"accuracy": float(outcome.correct), "answerless": float(outcome.answer is None)}


def _document(row: Mapping[str, Any], ask: Callable[[str, Sequence[str] | None], str], judge: str) -> dict[str, Any]:
    # A column that is null throughout has no type in the harness's JSON reader, so there are always choices.
    return {
        "question_id": row["id"],
        "dataset": row["dataset"],
        "split": row["split"],
        "question": row["question"],
        "prompt": ask(row["question"], row["choices"]),
        "answer": row["answer"],
        "choices": row["choices"] or [],
        "judge": judge,
    }
