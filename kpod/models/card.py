"""The model card of a student: its origin, its accuracy and its prompt."""

import json
from typing import Any

import yaml

from kpod import tracking
from kpod.errors import ConfigError
from kpod.run.results import CONFIG, find, result_of, took
from kpod.store import artifacts
from kpod.store.artifacts import ArtifactRef
from kpod.text.formats import PromptFormat

NOT_SAID = "not recorded"


def card(run: str, student: ArtifactRef, form: PromptFormat, example: str, licence: str) -> str:
    """The README.md of a student.

    `run`: as the user names it (id, beginning of an id or name, perhaps with /METHOD); `student`: the result of its
    distillation; `example`: the prompt of a question; `licence`: of the card's head.
    """
    named, _, method = run.partition("/")
    run_id = find(named).info.run_id
    config = tracking.read_document(run_id, CONFIG) or {}
    name, base = _student(config.get("student", {}))
    teachers = config.get("teachers") or [config.get("teacher") or {}]
    head = {
        "license": licence,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": base} if base else {}),
        "tags": ["kpod", "distillation", "chain-of-thought"],
    }
    inputs = tracking.inputs_of(student.run_id)
    digests = "\n".join(f"| {key} | `{digest[:16]}` |" for key, (digest, _) in sorted(inputs.items()))
    facts = {
        "Student before distillation": name,
        "Teacher": ", ".join(_teacher(one) for one in teachers),
        "Method": method or (config.get("methods") or [NOT_SAID])[-1],
        "Training": _training(student),
        "Run": f"`{run_id}`, sha256 of the student `{student.sha256[:16]}`",
    }
    return f"""---
{yaml.safe_dump(head, sort_keys=False).strip()}
---
# {config.get("name", "kpod")}: a student that reasons step by step

Made with kpod: distilled from a teacher's rationales.

{chr(10).join(f"- **{key}**: {value}" for key, value in facts.items())}

## Results

{_results(run)}

Greedy answers to held-out questions; the interval is Wilson's at 95%.

## Prompt

Form `{form.kind}`; the answer is stated as `{form.answer.statement("...").strip()}`. The tokenizer's chat template
gives a question this form, so chat servers need nothing more. One question as the student reads it:

```text
{example}
```

## Data

| input | sha256 |
|---|---|
{digests or f"| {NOT_SAID} | |"}

The licence of the base model, of the questions and of the teacher's outputs bind this model too.
"""


def _student(settings: dict[str, Any]) -> tuple[str, str | None]:
    """The name of the base student, and its name on the hub or None."""
    kind = settings.get("kind")
    if kind == "hub":
        return f"{settings['name']} at {settings.get('revision', 'main')}", settings["name"]
    if kind == "folder":
        return f"the folder {settings['path'].rstrip('/').rpartition('/')[2]}", None
    return settings.get("package") or kind or NOT_SAID, None


def _teacher(settings: dict[str, Any]) -> str:
    """Model of a teacher, and of one of several the share of the questions that it was asked."""
    model = settings.get("model") or NOT_SAID
    return f"{model} ({settings['share']:.0%} of the questions)" if "share" in settings else model


def _training(student: ArtifactRef) -> str:
    """Target tokens, epochs, learning rate and seed of a distillation."""
    run, figures = tracking.get_run(student.run_id), took(student)
    params = run.data.params if run else {}
    taken = [f"{figures[key]:,.0f} {key.replace('_', ' ')}" for key in ("target_tokens", "epochs") if key in figures]
    told = [f"{key} {params[f'distill.{key}']}" for key in ("lr", "seed") if f"distill.{key}" in params]
    return ", ".join([*taken, *told]) or NOT_SAID


def _results(run: str) -> str:
    rows = [f"| {name} | {row} |" for name, row in _accuracies(run)]
    head = "| student | set | split | questions | right | accuracy | 95% interval |\n|---|---|---|---|---|---|---|"
    return "\n".join([head, *rows]) if rows else "This run has no evaluation."


def _accuracies(run: str) -> list[tuple[str, str]]:
    """(student, row) of the accuracy by set of this student, and of the student before distillation if evaluated."""
    rows = []
    for label, name in (("before distillation", f"{run.partition('/')[0]}/base"), ("this student", run)):
        try:
            ref = result_of(name, "evaluate")
        except ConfigError:
            continue
        metrics = json.loads((artifacts.folder_of(ref.stage, ref.key) / "metrics.json").read_text(encoding="utf-8"))
        for row in metrics["sets"]:
            share, low, high = (f"{row[key]:.1%}" for key in ("accuracy", "low", "high"))
            cells = (row["dataset"], row["split"], row["questions"], row["correct"], share, f"{low} to {high}")
            rows.append((label, " | ".join(map(str, cells))))
    return rows
