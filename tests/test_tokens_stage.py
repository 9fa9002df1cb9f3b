"""Stage `tokens`, and the columns that later stages read: the same rows as one rationale at a time gives."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import answer_ids, prompt_ids, rationale_ids
from weighting_tiny import FAMILIES, byte_bpe, llama, question, rationale, sums, unigram, world

from kpod import schemas
from kpod.config import Form
from kpod.distill.plan import read_plan
from kpod.errors import DataError
from kpod.text.rationales import Rationale, read_rationales
from kpod.text.table import FILE, Column, Tokens
from kpod.text.tokens import batches_of
from kpod.tokens.rows import tokenise
from kpod.tokens.stage import run
from kpod.training.examples import Example, Examples, arranged
from kpod.training.weights import read_weights

TOKENIZERS = {name: build() for name, build in FAMILIES.items()}
vectors = st.lists(st.lists(st.integers(-5, 5), max_size=4), max_size=8)


def many() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nine sums, some with a second sample, told in another order than asked."""
    questions, texts = sums(9)
    texts[2]["rationale"] += " Therefore, the answer is 5."
    more = [
        rationale(row["question_id"], f"Tom counts to {i}. It is <eos> é.", sample=1) for i, row in enumerate(texts)
    ]
    return questions, [*reversed(texts), *more[::2]]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_holds_what_each_rationale_gives_by_itself(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TOKENIZERS[family]
    monkeypatch.setattr("kpod.tokens.stage.CHUNK", 4)  # several batches of records, mapped as one
    inputs = world(tmp_path, *many(), llama(len(tokenizer)), tokenizer)
    found = Tokens.read(inputs["tokens"])
    told = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    assert list(found.keys) == [one.key for one in told] == sorted(one.key for one in told)
    assert len(found) == 14
    for row, one in enumerate(told):
        [(ids, step)] = rationale_ids(tokenizer, [one.text], [one.steps])
        assert found.rationale[row].tolist() == ids.tolist()
        assert found.step[row].tolist() == step.tolist()
        assert found.prompt[row].tolist() == prompt_ids(tokenizer, one.question, one.choices)
        assert found.answer[row].tolist() == answer_ids(tokenizer, one.answer)
        assert found.steps[row] == len(one.steps)
        assert (found.visible[row] < len(ids)) == ("the answer is" in one.text)
    in_memory = tokenise(tokenizer, told)
    for name in ("prompt", "rationale", "step", "answer"):
        rows = np.arange(len(found))[::-1]
        assert getattr(found, name).flat(rows).tolist() == getattr(in_memory, name).flat(rows).tolist()
    assert found.rationale.values.base is not None  # a view of the file


def test_what_no_stage_can_use_is_set_aside_once(tmp_path: Path) -> None:
    questions, texts = sums(3)
    questions += [question("blank", "How many?", " "), question("twice", "How many?", "7")]
    texts += [rationale("blank", "It is 7."), rationale("nowhere", "It is 7."), rationale("q001", " ", sample=4)]
    texts += [
        rationale("twice", text, sample) for sample, text in enumerate(["It is 7, so.", "It is 7.", "it IS 7 so!"])
    ]
    texts += [rationale("twice", "It is 3.50.", sample=3), rationale("twice", "It is 350.", sample=4)]
    inputs = world(tmp_path, questions, texts)
    rows = schemas.read(inputs["tokens"] / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    assert {row["row"]: row["reason"] for row in rows} == {
        "blank/0": "the question has no answer",
        "nowhere/0": "no question of this id",
        "q001/4": "no step",
        "twice/2": "the same text as sample 0",
    }
    assert {key for key in Tokens.read(inputs["tokens"]).keys if key[0] == "twice"} == {
        ("twice", sample) for sample in (0, 1, 3, 4)
    }
    path = inputs["questions"] / "questions.parquet"
    schemas.write(path, schemas.table([question("other", "How many?", "7")], schemas.QUESTIONS))
    with pytest.raises(
        DataError, match=r"tokens: none of \d+ kept rationales can be used; first: no question"
    ) as error:
        run(inputs, Form(), inputs["tokens"])
    assert "\n" not in str(error.value)


def test_a_file_that_is_gone_or_cut_short_is_one_clear_line(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(2))
    path = inputs["tokens"] / FILE
    whole = path.read_bytes()
    for content, message in ((whole[:-20], "not a readable Arrow file"), (None, "is missing: rerun")):
        path.unlink()
        if content:
            path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            Tokens.read(inputs["tokens"])
        assert "\n" not in str(error.value)


@given(vectors, st.data())
def test_a_column_is_a_list_of_vectors(rows: list[list[int]], data: st.DataObject) -> None:
    column = Column.of(rows)
    assert [column[row].tolist() for row in range(len(rows))] == rows
    chosen = data.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), max_size=5)) if rows else []
    at = np.array(chosen, dtype=np.int64)
    assert column.flat(at).tolist() == [value for row in chosen for value in rows[row]]
    column.put(at, column.flat(at) + np.repeat(at, column.size[at]))
    rows = [[value + row * (row in chosen) for value in values] for row, values in enumerate(rows)]
    assert [column[row].tolist() for row in range(len(rows))] == rows
    assert [column.take(at)[place].tolist() for place in range(len(chosen))] == [rows[row] for row in chosen]


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 60))
def test_batches_hold_each_row_once_within_the_limit(sizes: list[int], limit: int) -> None:
    found = batches_of(np.array(sizes, dtype=np.int64), limit)
    assert sorted(row for part in found for row in part.tolist()) == list(range(len(sizes)))
    widths = [max(sizes[row] for row in part) for part in found]
    assert widths == sorted(widths)
    assert all(len(part) == 1 or len(part) * width <= limit for part, width in zip(found, widths, strict=True))
    for part, following in pairwise(found):  # one more would have been too many
        assert (len(part) + 1) * max(1, sizes[following[0]]) > limit


def test_rows_are_arranged_by_key_and_form_with_what_is_given_of_them(tmp_path: Path) -> None:
    inputs = world(tmp_path, *many())
    tokens = Tokens.read(inputs["tokens"])
    order = np.random.default_rng(0).permutation(len(tokens))[:11]
    few = Examples(tokens, order)
    steps = np.stack([tokens.steps[order] - 1, tokens.steps[order] // 2, np.zeros(11, int)])
    by_key = {one.key: steps[:, place] for place, one in enumerate(few)}
    listed = Examples.of([replace(one, form=form) for one in few for form in ("b", "a")])
    twice = np.repeat(steps, 2, axis=1)
    for table, given_steps, forms in ((few, steps, [""]), (listed, twice, ["a", "b"])):
        rows, given_tokens = arranged(table, given_steps)
        assert [(one.key, one.form) for one in rows] == [(key, form) for key in sorted(by_key) for form in forms]
        for one, found in zip(rows, given_tokens.T, strict=True):
            assert [one.input_tokens(count) for count in by_key[one.key]] == found.tolist()
            assert same(one, next(other for other in few if other.key == one.key))
    lowest = {name: min(sample for other, sample in by_key if other == name) for name, _ in by_key}
    assert sorted(one.key for one in few.first(1)) == sorted(lowest.items())


def test_rows_are_named_by_all_that_is_in_them(tmp_path: Path) -> None:
    rows = list(Examples(Tokens.read(world(tmp_path, *many())["tokens"])))
    whole, last = Examples.of(rows), rows[-1]
    assert Examples.of(rows).digest() == whole.digest()
    other = {
        "key": ("other", 0), "prompt": last.prompt[::-1], "target": last.target[::-1], "weight": last.weight / 2,
    }  # fmt: skip
    for name, value in other.items():
        assert Examples.of([*rows[:-1], replace(last, **{name: value})]).digest() != whole.digest(), name
    assert whole[::-1].digest() != whole.digest()


def same(one: Example, other: Example) -> bool:
    return all(
        getattr(one, name).tolist() == getattr(other, name).tolist() for name in ("prompt", "target", "weight", "step")
    )


def test_weights_are_found_by_key_in_any_order_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpod.training.weights._ROWS", 3)
    inputs = world(tmp_path, *many())
    tokens = Tokens.read(inputs["tokens"])
    rng = np.random.default_rng(0)
    rows = [
        {
            "question_id": tokens.keys[row][0],
            "sample": tokens.keys[row][1],
            "token_ids": tokens.rationale[row],
            "step": tokens.step[row],
            "weight": rng.random(len(tokens.step[row])).astype(np.float32),
        }
        for row in rng.permutation(len(tokens))
    ]
    rows[3]["weight"][0] = np.nan
    strange = {**rows[0], "question_id": "nobody"}
    schemas.write(tmp_path / "weights.parquet", schemas.table([strange, *rows[1:]], schemas.WEIGHTS))
    column, reasons = read_weights(tmp_path, tokens)
    row_of = {key: row for row, key in enumerate(tokens.keys)}
    lost, broken = (row_of[rows[i]["question_id"], rows[i]["sample"]] for i in (0, 3))
    assert reasons == {lost: "not in weights.parquet", broken: "a weight is negative or not finite"}
    for one in (*rows[1:3], *rows[4:]):
        assert column[row_of[one["question_id"], one["sample"]]].tolist() == one["weight"].tolist()


def test_a_plan_is_a_matrix_of_small_integers(tmp_path: Path) -> None:
    told = [Rationale(name, 0, "What?", None, "7", "It is 7.", ((0, 8),)) for name in ("b", "a", "c")]
    tokens = tokenise(byte_bpe(), told)
    steps = {"a": [3, 1, 0], "b": [2, 2, 0], "c": [1, 0]}
    rows = [
        {"stage": stage, "question_id": name, "sample": 0, "input_steps": count, "selected": False}
        for name, counts in steps.items()
        for stage, count in enumerate(counts)
    ]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    schemas.write(tmp_path / "curriculum.parquet", schemas.table(rows, schemas.CURRICULUM))
    plan = read_plan(tmp_path, tokens.keys)
    assert plan.input_steps.dtype == np.int16
    assert plan.input_steps[:, :2].T.tolist() == [steps["b"], steps["a"]]
    assert plan.whole.tolist() == [True, True, False]
    assert plan.difficulty is None


def test_files_are_written_and_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "clusters.parquet"
    parts = [
        {"question_id": [f"q{i}"] * n, "sample": list(range(n)), "cluster": [i] * n} for i, n in enumerate((3, 1, 4))
    ]
    with schemas.writing(path, schemas.CLUSTERS, {"note": "x"}) as write:
        for part in parts:
            write(part)
    whole = schemas.read(path, schemas.CLUSTERS)
    assert whole.schema.metadata[b"note"] == b"x"
    assert pa.concat_tables(schemas.batches(path, schemas.CLUSTERS, rows=2)).to_pylist() == whole.to_pylist()
    assert schemas.read(path, schemas.CLUSTERS, ("sample",)).column_names == ["sample"]
    with pytest.raises(DataError), schemas.writing(path, schemas.CLUSTERS) as write:
        write({"question_id": [None], "sample": [0], "cluster": [0]})
    assert schemas.read(path, schemas.CLUSTERS).num_rows == 8  # the old file still stands


def test_unknown_answers_are_a_matter_of_the_predictor(tmp_path: Path) -> None:
    """A student may not know a character of the answer; the stage keeps the row."""
    questions, texts = sums(2)
    questions[1]["answer"] = "数"
    tokenizer = unigram()
    inputs = world(tmp_path, questions, texts, llama(len(tokenizer)), tokenizer)
    assert len(Tokens.read(inputs["tokens"])) == 2
