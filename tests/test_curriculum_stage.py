"""Stage `curriculum`: files in, files out, by key and in any order of rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from distill_tiny import tokenizer
from segments import answer_ids

from kpod import schemas
from kpod.config import Budget, GloveEmbedder, PlannedCurriculum
from kpod.curriculum import stage
from kpod.errors import DataError
from kpod.observe import observing
from kpod.text.formats import COT
from kpod.text.rationales import Rationale
from kpod.text.table import FILE
from kpod.tokens.rows import columns

TOPICS = ["apples", "trains", "euros"]


def question(i: int) -> dict[str, Any]:
    topic = TOPICS[i % 3]
    return {"id": f"q{i}", "dataset": "d", "split": "train", "question": f"How many {topic}?", "answer": "1"}


def difficulty(question: str, sample: int, step: int, value: float) -> dict[str, Any]:
    return {"question_id": question, "sample": sample, "step": step, "difficulty": value, "tokens": 3}


def rows(n: int = 30, samples: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        difficulty(f"q{i}", sample, step, float(rng.gamma(2, 0.5)))
        for i in range(n)
        for sample in range(samples)
        for step in range(int(rng.integers(1, 6)))
    ]


def run(
    folder: Path, questions: list[dict[str, Any]], found: list[dict[str, Any]], **settings: Any
) -> tuple[dict[str, float], Path]:
    """Run the stage with word vectors that tell the topics apart."""
    vectors = folder / "vectors.txt"
    vectors.parent.mkdir(parents=True, exist_ok=True)
    vectors.write_text("apples 1 0\ntrains 0 1\neuros 1 1\n")
    inputs = {name: folder / name for name in ("questions", "difficulty", "base", "tokens")}
    for path in (*inputs.values(), folder / "out"):
        path.mkdir()
    tokenizer().save_pretrained(inputs["base"] / "student")
    full = [{**row, "choices": None} for row in questions]
    schemas.write(inputs["questions"] / "questions.parquet", schemas.table(full, schemas.QUESTIONS))
    schemas.write(inputs["difficulty"] / "difficulty.parquet", schemas.table(found, schemas.DIFFICULTY))
    keys = sorted({(row["question_id"], row["sample"]) for row in found})
    told = [Rationale(name, sample, "What?", None, "1", "One.", ((0, 4),)) for name, sample in keys]
    with schemas.writing(inputs["tokens"] / FILE, schemas.TOKENS) as write:
        write(columns(tokenizer(), told, COT))
    chosen = {"epochs": 6, "T": 0.25, "clusters": 3, "embedder": GloveEmbedder(file=vectors), **settings}
    config = PlannedCurriculum(**{"budget": Budget(of="scotd"), "samples": None, **chosen})
    return stage.run(inputs, config, folder / "out"), folder / "out"


def test_files_and_figures(tmp_path: Path) -> None:
    questions, found = [question(i) for i in range(30)], rows()
    metrics, out = run(tmp_path, questions, found)
    plan = schemas.read(out / "curriculum.parquet", schemas.CURRICULUM)
    keys = [(f"q{i}", sample) for i in range(30) for sample in range(2)]
    assert [(row["stage"], row["question_id"], row["sample"]) for row in plan.to_pylist()] == [
        (t, *key) for t in range(6) for key in keys
    ]
    steps = {key: sum((row["question_id"], row["sample"]) == key for row in found) for key in keys}
    for row in plan.to_pylist():
        assert 0 <= row["input_steps"] < steps[row["question_id"], row["sample"]]
        assert row["input_steps"] == 0 or row["stage"] < 3

    facts = json.loads(plan.schema.metadata[b"stages"])
    assert [fact["stage"] for fact in facts] == list(range(6))
    total = sum(row["difficulty"] for row in found)
    assert facts[3]["target"] == facts[5]["reached"] == pytest.approx(total)
    assert all(0.99 * fact["target"] <= fact["reached"] <= fact["target"] * (1 + 1e-6) for fact in facts)
    assert all(0 <= fact["certificate"] < 0.5 for fact in facts)

    assert metrics["rationales"] == 60
    assert metrics["clusters"] == 3
    assert metrics["quarantined"] == 0
    assert metrics["difficulty_total"] == pytest.approx(total)
    assert metrics["reached_least"] >= 0.99
    assert metrics["largest_cluster_share"] == pytest.approx(1 / 3)
    assert not (out / "quarantine.parquet").exists()


def test_clusters_follow_the_questions(tmp_path: Path) -> None:
    _, out = run(tmp_path, [question(i) for i in range(30)], rows())
    labels: dict[str, set[int]] = {topic: set() for topic in TOPICS}
    for row in schemas.read(out / "clusters.parquet", schemas.CLUSTERS).to_pylist():
        labels[TOPICS[int(row["question_id"][1:]) % 3]].add(row["cluster"])
    assert sorted(map(len, labels.values())) == [1, 1, 1]
    assert set.union(*labels.values()) == {0, 1, 2}


@pytest.mark.parametrize("beta", [0, 12])
def test_the_order_of_rows_does_not_matter(tmp_path: Path, beta: float) -> None:
    """Not even for rationales that are equal in everything but their key."""
    questions = [question(i) for i in range(30)]
    found = [difficulty(f"q{i}", s, step, 1.0) for i in range(30) for s in range(2) for step in range(3)]
    rng = np.random.default_rng(0)
    _, one = run(tmp_path / "one", questions, found, beta=beta)
    shuffled = [list(rng.permutation(np.array(x, dtype=object))) for x in (questions, found)]
    _, two = run(tmp_path / "two", *shuffled, beta=beta)
    for name in ("curriculum.parquet", "clusters.parquet"):
        first, second = (pq.read_table(folder / name) for folder in (one, two))
        by_key = [
            (column, "ascending") for column in first.column_names if column in ("stage", "question_id", "sample")
        ]
        assert first.sort_by(by_key).equals(second.sort_by(by_key))
    order = pq.read_table(two / "clusters.parquet")["question_id"].to_pylist()[::2]
    assert order == [row["id"] for row in shuffled[0]]


def test_bad_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    bad = [
        difficulty("gone", 0, 0, 1.0),
        difficulty("q0", 5, 1, 1.0),
        difficulty("q0", 6, 0, 1.0),
        difficulty("q0", 6, 0, 1.0),
        difficulty("q0", 7, 0, float("nan")),
        difficulty("q0", 8, 0, -1.0),
        difficulty("q0", 9, 0, 1.0),
        difficulty("q0", 9, 2, 1.0),
    ]
    metrics, out = run(tmp_path, [question(0)], [*bad, difficulty("q0", 0, 0, 1.0), difficulty("q0", 0, 1, 2.0)])
    assert metrics["rationales"] == 1
    found = {row["row"]: row["reason"] for row in pq.read_table(out / "quarantine.parquet").to_pylist()}
    steps, value = "the steps are not 0, 1, 2, ...", "a difficulty is negative or not finite"
    assert found == {
        "gone/0": "the question is not in questions.parquet",
        "q0/5": steps,
        "q0/6": steps,
        "q0/7": value,
        "q0/8": value,
        "q0/9": steps,
    }
    assert metrics["quarantined"] == 6


@pytest.mark.parametrize("found", [[], [difficulty("gone", 0, 0, 1.0)]])
def test_nothing_usable_is_one_clear_line(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"difficulty\.parquet has no") as error:
        run(tmp_path, [question(0)], found)
    assert "\n" not in str(error.value)


class Recorder:
    def __init__(self) -> None:
        self.curves: dict[int, Mapping[str, float]] = {}
        self.warnings: list[str] = []

    def progress(self, description: str, done: float, total: float, seconds_left: float | None) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.curves[step] = values

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def test_curves_and_warnings(tmp_path: Path) -> None:
    recorder = Recorder()
    with observing(recorder):
        run(tmp_path / "fine", [question(i) for i in range(30)], rows())
    assert sorted(recorder.curves) == list(range(6))
    assert recorder.curves[5]["curriculum.whole_share"] == recorder.curves[5]["curriculum.generated_share"] == 1
    assert recorder.curves[0]["curriculum.whole_share"] < 1
    assert not recorder.warnings
    with observing(recorder):  # one rationale with two hard steps: nothing fits before T
        run(tmp_path / "short", [question(0)], [difficulty("q0", 0, k, v) for k, v in enumerate([5.0, 5.0, 0.1])])
    assert len(recorder.warnings) == 1
    assert "99%" in recorder.warnings[0]


def test_stages_are_as_many_as_the_budget_pays_for(tmp_path: Path) -> None:
    """An epoch is one rationale of each question: 30 questions with 2 rationales, 3 tokens a step, and the answer."""
    questions, found = [question(i) for i in range(30)], rows()
    answer = len(answer_ids(tokenizer(), "1"))
    steps: dict[tuple[str, int], int] = {}
    for row in found:
        steps[row["question_id"], row["sample"]] = row["step"] + 1
    epoch = [sum(3 * steps[f"q{i}", sample] + answer for i in range(30)) for sample in (0, 1)]
    budgets = {
        "of": (Budget(of="scotd", epochs=5), None, 3 * epoch[0] + 2 * epoch[1]),
        "tokens": (Budget(target_tokens=5 * epoch[0]), 1, 5 * epoch[0]),
    }
    for name, (budget, samples, limit) in budgets.items():
        more = {"epochs": None, "budget": budget, "samples": samples}
        metrics, out = run(tmp_path / name, questions, found, **more)
        plan = schemas.read(out / "curriculum.parquet", schemas.CURRICULUM).to_pylist()
        assert {row["sample"] for row in plan} == ({0, 1} if samples is None else {0})
        turn = [row for row in plan if row["sample"] == (row["stage"] % 2 if samples is None else 0)]
        spent = [0] * int(metrics["stages"])
        for row in turn:
            spent[row["stage"]] += 3 * (steps[row["question_id"], row["sample"]] - row["input_steps"]) + answer
        assert sum(spent) >= limit > sum(spent[:-1])
        assert metrics["stages"] > 5
    metrics, _ = run(tmp_path / "epochs", questions, found, epochs=None, budget=Budget(epochs=5))
    assert metrics["stages"] == 5
