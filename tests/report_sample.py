"""A made-up run with something for every section of the report, and a small byte-level tokenizer."""

import dataclasses
import json
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from kpod import schemas
from kpod.distill.points import Point
from kpod.evaluate.accuracy import Accuracy
from kpod.report.data import Comparison, Cost, Example, ReportData
from kpod.report.example import find
from kpod.report.left_out import LeftOut
from kpod.report.settings import Lineage
from kpod.report.token_views import Shaded
from kpod.text.table import Column, Tokens
from kpod.training.examples import Examples
from kpod.training.weights import pruned

METHODS = ("base", "scotd", "kpod-wo-prog", "kpod")
THINGS = ("apples", "marbles", "stamps", "pencils")


def byte_tokenizer(texts: list[str], size: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE: a character that it has not learned is split over several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def question(index: int) -> dict[str, Any]:
    a, b, thing = 3 + index % 17, 2 + index % 5, THINGS[index % len(THINGS)]
    return {
        "id": f"wp-{index:04d}",
        "dataset": "wordproblems" if index % 3 else "wordproblems-longer",
        "split": "test",
        "question": f"Mara has {a} boxes with {b} {thing} each and gives {b} {thing} away. How many are left?",
        "answer": str(a * b - b),
        "choices": None,
    }


def steps_of(index: int) -> list[str]:
    a, b, thing = 3 + index % 17, 2 + index % 5, THINGS[index % len(THINGS)]
    steps = [f"Mara starts with {a} x {b} = {a * b} {thing}. ", f"She then has {a * b} - {b} = {a * b - b} {thing}."]
    extra = ["It is a sunny day and the boxes are blue. ", "We should read the question with care. "]
    return [*extra[: index % 3], *steps]


def rationale(index: int) -> dict[str, Any]:
    wrong = index % 9 == 4
    return {
        "question_id": f"wp-{index:04d}",
        "sample": 0,
        "rationale": "".join(steps_of(index)),
        "answer": "7" if wrong else question(index)["answer"],
        "correct": not wrong,
        "kept": not wrong and index % 31 != 0,
        "drop_reason": "wrong answer" if wrong else "cut off" if index % 31 == 0 else None,
        "model": "teacher-1",
        "finish_reason": "length" if index % 31 == 0 else "stop",
        "prompt_tokens": 40 + index % 7,
        "completion_tokens": 60 + index % 23,
        "cost_usd": 0.00012,
    }


def weight_row(index: int, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids, steps, weights = [], [], []
    for step, text in enumerate(steps_of(index)):
        for token in tokenizer.encode(text, add_special_tokens=False):
            strong = any(c.isdigit() or c in "+-x=" for c in tokenizer.decode([token]))
            ids.append(token)
            steps.append(step)
            weights.append((0.78 if strong else 0.31) + 0.1 * ((7 * len(ids) + index) % 10) / 10)
    return {"question_id": f"wp-{index:04d}", "sample": 0, "token_ids": ids, "step": steps, "weight": weights}


def token_rows(weights: pa.Table) -> list[dict[str, Any]]:
    """Rows of schemas.TOKENS for the rationales of schemas.WEIGHTS, each with an answer of one token."""
    return [
        {
            "question_id": row["question_id"],
            "sample": row["sample"],
            "prompt_ids": [1],
            "rationale_ids": row["token_ids"],
            "step": row["step"],
            "steps": max(row["step"]) + 1,
            "visible": len(row["step"]),
            "answer_ids": [2],
        }
        for row in weights.to_pylist()
    ]


def left_out(weights: pa.Table, share: float, method: str = "kpod") -> LeftOut:
    """The steps without a keypoint of the rationales in schemas.WEIGHTS."""
    rows = token_rows(weights)
    tokens = Tokens.of([{name: [row[name] for row in rows] for name in schemas.TOKENS.names}])
    column = Column.of(weights["weight"].to_pylist(), np.float32)
    return LeftOut(method, tokens, pruned(Examples(tokens), column, share))


def schedule(lengths: list[int], difficulties: list[np.ndarray], stages: int = 8) -> pa.Table:
    """A curriculum like those of the pipeline: input steps fall to none by the middle of the stages."""
    given = np.array(lengths) - 1
    tails = [np.concatenate([np.cumsum(d[::-1])[::-1], [0.0]]) for d in difficulties]
    whole = sum(tail[0] for tail in tails)
    rows, facts, order = [], [], np.random.default_rng(1).permutation(len(lengths))
    for stage in range(stages):
        target = whole * min(1.0, 0.3 + 0.7 * (stage / 5) ** 1.5)
        selected = np.zeros(len(lengths), bool)
        for i in np.tile(order, 4):
            reached = sum(tail[c] for tail, c in zip(tails, given, strict=True))
            if given[i] and reached + difficulties[i][given[i] - 1] <= target:
                given[i] -= 1
                selected[i] = True
        reached = float(sum(tail[c] for tail, c in zip(tails, given, strict=True)))
        facts.append({"stage": stage, "target": max(target, reached), "reached": reached, "certificate": 0.0})
        rows += [
            {"stage": stage, "question_id": f"wp-{i:04d}", "sample": 0, "input_steps": int(c), "selected": bool(s)}
            for i, (c, s) in enumerate(zip(given, selected, strict=True))
        ]
    return schemas.table(rows, schemas.CURRICULUM, {"stages": json.dumps(facts)})


def history(seed: int, tokens: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    rows = [
        {
            "epoch": step // 40,
            "step": step + 1,
            "loss": float(0.4 + 2.2 * np.exp(-step / 90) + 0.12 * draw.standard_normal()),
            "lr": 1e-3 * (1 - step / 400),
            "tokens": tokens * (step + 1),
            "difficulty": None,
        }
        for step in range(400)
    ]
    return schemas.table(rows, schemas.HISTORY)


def prediction(index: int, method: str) -> dict[str, Any]:
    gold = question(index)["answer"]
    right = (index * 7919) % 10 < 2 + 2 * METHODS.index(method)
    silent = not right and index % 11 == 3
    said = gold if right else None if silent else str(int(gold) + 1)
    words = "".join(steps_of(index)) if not silent else "Mara has Mara has Mara has " * 12
    return {
        "question_id": f"wp-{index:04d}",
        "dataset": question(index)["dataset"],
        "split": "test",
        "completion": words if said is None else f" {words} Therefore, the answer is {said}.",
        "predicted": said,
        "answer": gold,
        "correct": right,
        "truncated": silent,
    }


def accuracy_rows(predictions: dict[str, pa.Table]) -> list[Accuracy]:
    rows = []
    for dataset in ("wordproblems", "wordproblems-longer"):
        for method, table in predictions.items():
            chosen = [row for row in table.to_pylist() if row["dataset"] == dataset]
            correct, count = sum(row["correct"] for row in chosen), len(chosen)
            share = correct / count
            cut = sum(row["truncated"] for row in chosen) / count
            low, high = max(0.0, share - 0.06), min(1.0, share + 0.06)
            rows.append(Accuracy(method, dataset, "test", count, correct, low, high, cut, cut))
    return rows


def validation(index: int) -> list[Point]:
    """Of a method that is best before its last epoch."""
    right = [5, 20, 42 + index, 40]
    return [Point(e, 9_000 * (e + 1), n, 100) for e, n in enumerate(right)]


def _example(predictions: dict[str, pa.Table], tokenizer: PreTrainedTokenizerFast) -> Example | None:
    """An example whose tokens are shaded by their length."""
    count = len(predictions["kpod"])
    found = find(predictions, schemas.table([question(i) for i in range(count)], schemas.QUESTIONS))
    if found is None:
        return None
    told = []
    for one in found.students:
        texts = [tokenizer.decode([token]) for token in tokenizer.encode(one.completion, add_special_tokens=False)]
        tokens = tuple(Shaded(text, len(text) / 10, min(1.0, len(text) / 8), not i % 9) for i, text in enumerate(texts))
        told.append(dataclasses.replace(one, tokens=tokens))
    return dataclasses.replace(found, students=(told[0], told[1]))


def full_report(count: int = 150) -> ReportData:
    """Every field filled."""
    tokenizer = byte_tokenizer([rationale(i)["rationale"] for i in range(count)])
    weights = schemas.table([weight_row(i, tokenizer) for i in range(count)], schemas.WEIGHTS)
    draw = np.random.default_rng(0)
    lengths = [len(steps_of(i)) for i in range(count)]
    difficulties = [draw.gamma(2.0, 1.5, n).astype(np.float32) + np.arange(n) for n in lengths]
    step_rows = [
        {"question_id": f"wp-{i:04d}", "sample": 0, "step": k, "difficulty": float(d), "tokens": 14}
        for i, values in enumerate(difficulties)
        for k, d in enumerate(values)
    ]
    cluster_rows = [{"question_id": f"wp-{i:04d}", "sample": 0, "cluster": (i * 7 // 3) % 5} for i in range(count)]
    predictions = {
        method: schemas.table([prediction(i, method) for i in range(count)], schemas.PREDICTIONS) for method in METHODS
    }
    return ReportData(
        title="demo: word problems",
        facts={"Student": "scratch, 4 layers of 160", "Teacher": "scripted", "Methods": ", ".join(METHODS)},
        accuracy=accuracy_rows(predictions),
        steps={m: {2: Accuracy(m, "all", "all", 50, 20, 0.27, 0.54, 0, 0)} for m in METHODS},
        comparisons=[
            Comparison("scotd", "kpod", "wordproblems", "test", 100, 8, 27, 0.08, 0.30, 0.0018),
            Comparison("scotd", "kpod", "wordproblems-longer", "test", 50, 6, 9, -0.08, 0.20, 0.607),
        ],
        costs={
            m: Cost(160_000 + i, 8 + i, 60.5, 41.0, 12.25 if m == "kpod" else 0, 1.7 + i)
            for i, m in enumerate(METHODS[1:])
        },
        example=_example(predictions, tokenizer),
        histories={m: history(i, 400 - 60 * i) for i, m in enumerate(METHODS[1:])},
        validations={m: validation(i) for i, m in enumerate(METHODS[1:])},
        questions=schemas.table([question(i) for i in range(count)], schemas.QUESTIONS),
        rationales=schemas.table([rationale(i) for i in range(count)], schemas.RATIONALES),
        weights=weights,
        left_out=left_out(weights, 0.2),
        tokenizer=tokenizer,
        difficulty=schemas.table(step_rows, schemas.DIFFICULTY),
        curriculum=schedule(lengths, difficulties),
        clusters=schemas.table(cluster_rows, schemas.CLUSTERS),
        predictions=predictions,
        config={
            "name": "demo",
            "questions": {"sources": [{"kind": "wordproblems", "train": 360}]},
            "distill": {"epochs": 8, "adapter": {"kind": "full"}, "lr": 0.001},
        },
        lineage=[
            Lineage(name=f"{method}.{stage}", stage=stage, key=f"{i:02x}" * 32, run_id=f"{i:032x}")
            for i, stage in enumerate(("questions", "rationales", "steps", "weights"))
            for method in ("scotd", "kpod")
        ],
    )


# What text of unknown origin may hold: markup, quotes, template syntax, NUL, a right-to-left override, Arabic,
# a joined emoji, mathematics and an address.
HOSTILE = (
    "</style></title><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'>{{ 7 * 7 }}&lt;"
    "\x00\x1b\u202e مرحبا 👩‍👩‍👧 $x^2$ http://evil.example/ \n"
)


def hostile(value: Any, place: str = "") -> Any:
    """`value` with every string in it, keys included, replaced by a marker of its place and HOSTILE text.

    Equal strings at one place stay equal and different ones different, so that keys still match.
    """
    if isinstance(value, str):
        return f"⟪{place}⟫{HOSTILE}{value}"
    if isinstance(value, pa.Table):
        places = {name: "id" if name in ("id", "question_id") else name for name in value.schema.names}
        rows = [{name: hostile(cell, places[name]) for name, cell in row.items()} for row in value.to_pylist()]
        return pa.Table.from_pylist(rows, schema=value.schema)
    if isinstance(value, dict):
        return {hostile(key, f"{place} key"): hostile(item, place) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hostile(item, place) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: hostile(getattr(value, name), name) for name in names})
    if isinstance(value, BaseModel):
        fields = {name: hostile(getattr(value, name), name) for name in type(value).model_fields}
        return type(value).model_construct(**fields)
    return value


def hostile_report(count: int = 30) -> ReportData:
    """The full report with hostile text at every place."""
    plain = full_report(count)
    data = hostile(dataclasses.replace(plain, weights=None))
    weights = plain.weights.to_pylist()
    for row, told in zip(weights, data.rationales.to_pylist(), strict=True):
        row["token_ids"] = data.tokenizer.encode(told["rationale"], add_special_tokens=False)
        row["question_id"] = told["question_id"]
        row["step"] = [i // 9 for i in range(len(row["token_ids"]))]
        row["weight"] = [(i % 10) / 10 for i in range(len(row["token_ids"]))]
    table = schemas.table(weights, schemas.WEIGHTS)
    return dataclasses.replace(data, weights=table, left_out=left_out(table, 0.02, data.left_out.method))
