import json
import math
from pathlib import Path

import distill_tiny
import numpy as np
import pytest
import torch
from segments import answer_ids, prompt_ids, rationale_ids
from transformers import AutoModelForCausalLM, AutoTokenizer

from kpod import schemas
from kpod.config import Budget, Distill, Form
from kpod.distill.stage import run
from kpod.errors import DataError
from kpod.store.files import sha256_tree
from kpod.text.rationales import Rationale, read_rationales
from kpod.text.table import Column, Tokens
from kpod.tokens import stage as tokens
from kpod.tokens.rows import tokenise
from kpod.training import models
from kpod.training.examples import ANSWER, Examples, usable
from kpod.training.ranks import Ranks
from kpod.training.weights import pruned, read_weights, weigh, weighted

TEXTS = {
    ("q1", 0): ("Tom has 3 apples. He buys 4 more. So 3 + 4 = 7.", [17, 33, 47]),
    ("q1", 1): ("There are 3 and 4. That makes 7.", [18, 32]),
    ("q2", 0): ("Half of 6 is 3. It is 3.", [15, 24]),
}
QUESTIONS = {"q1": ("How many apples has Tom?", "7"), "q2": ("What is half of 6?", "3")}
CONFIG = Distill(budget=Budget(epochs=2), batch_size=1, precision="fp32", lr=1e-2)


def steps_of(ends: list[int]) -> list[tuple[int, int]]:
    return list(zip([0, *ends], ends, strict=False))


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The folders of the stages before, with three rationales."""
    folders = {
        name: tmp_path / name
        for name in ("questions", "rationales", "steps", "base", "tokens", "weights", "curriculum", "out")
    }
    for folder in folders.values():
        folder.mkdir()
    asked = [
        {"id": q, "dataset": "d", "split": "train", "question": text, "answer": answer, "choices": None}
        for q, (text, answer) in QUESTIONS.items()
    ]
    schemas.write(folders["questions"] / "questions.parquet", schemas.table(asked, schemas.QUESTIONS))
    told = [
        {
            "question_id": q,
            "sample": sample,
            "rationale": text,
            "answer": QUESTIONS[q][1],
            "correct": True,
            "kept": True,
            "drop_reason": None,
            "model": "m",
            "finish_reason": "stop",
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "cost_usd": None,
        }
        for (q, sample), (text, _) in TEXTS.items()
    ]
    schemas.write(folders["rationales"] / "rationales.parquet", schemas.table(told, schemas.RATIONALES))
    cut = [
        {"question_id": q, "sample": sample, "step": k, "text": text[a:b], "char_start": a, "char_end": b}
        for (q, sample), (text, ends) in TEXTS.items()
        for k, (a, b) in enumerate(steps_of(ends))
    ]
    schemas.write(folders["steps"] / "steps.parquet", schemas.table(cut, schemas.STEPS))
    models.save(distill_tiny.llama(), distill_tiny.tokenizer(), folders["base"] / "student")
    tokens.run(folders, Form(), folders["tokens"])
    write_weights(folders["weights"])
    write_curriculum(folders["curriculum"])
    return folders


def write_weights(folder: Path, without: tuple[str, int] | None = None, value: float = 0.5, offset: int = 0) -> None:
    keys = list(TEXTS)
    found = rationale_ids(distill_tiny.tokenizer(), [TEXTS[k][0] for k in keys], [steps_of(TEXTS[k][1]) for k in keys])
    rows = [
        {
            "question_id": key[0],
            "sample": key[1],
            "token_ids": ids + offset,
            "step": step,
            "weight": np.full(len(ids), value, dtype=np.float32),
        }
        for key, (ids, step) in zip(keys, found, strict=True)
        if key != without
    ]
    schemas.write(folder / "weights.parquet", schemas.table(rows, schemas.WEIGHTS))


def write_curriculum(folder: Path, stages: int = 2, without: tuple[str, int] | None = None) -> None:
    rows = [
        {
            "stage": stage,
            "question_id": q,
            "sample": sample,
            "input_steps": max(0, len(ends) - 1 - stage),
            "selected": False,
        }
        for stage in range(stages)
        for (q, sample), (_, ends) in TEXTS.items()
        if (q, sample) != without
    ]
    metadata = {"stages": json.dumps([{"stage": stage, "reached": stage + 1} for stage in range(stages)])}
    schemas.write(folder / "curriculum.parquet", schemas.table(rows, schemas.CURRICULUM, metadata))


def test_rows_hold_what_the_student_sees_and_writes(inputs: dict[str, Path]) -> None:
    tokenizer = distill_tiny.tokenizer()
    found = Tokens.read(inputs["tokens"])
    examples, rejected = weighted(usable(found, 512)[0], read_weights(inputs["weights"], found))
    assert not rejected
    first = {example.key: example for example in examples}[("q1", 0)]
    assert list(first.prompt) == prompt_ids(tokenizer, "How many apples has Tom?")
    text, ends = TEXTS[("q1", 0)]
    assert tokenizer.decode(first.target) == f" {text} Therefore, the answer is 7.<eos>"
    answer = len(answer_ids(tokenizer, "7"))
    assert set(first.weight[:-answer]) == {np.float32(0.5)}
    assert set(first.weight[-answer:]) == {np.float32(1)}
    for count, end in enumerate([0, *ends]):
        assert tokenizer.decode(first.target[: first.input_tokens(count)]).strip() == text[:end].strip()
    assert first.input_tokens(99) == len(first.target) - answer  # the answer is always trained


def test_weights_scaled_to_mean_one(inputs: dict[str, Path]) -> None:
    plain, _ = usable(Tokens.read(inputs["tokens"]), 512)
    weights = read_weights(inputs["weights"], plain.tokens)
    assert all(np.allclose(example.weight, 1) for example in weighted(plain, weights, scale="mean1")[0])


def test_a_floor_lifts_every_weight_of_the_rationale(inputs: dict[str, Path]) -> None:
    plain, _ = usable(Tokens.read(inputs["tokens"]), 512)
    given = Column.of([np.linspace(0, 1, row.rationale_tokens) for row in plain], np.float32)
    for number, row in enumerate(weighted(plain, (given, {}), floor=0.3)[0]):
        np.testing.assert_allclose(row.weight[: row.rationale_tokens], 0.3 + 0.7 * given[number], rtol=1e-6)
        assert set(row.weight[row.rationale_tokens :]) == {1.0}


def test_steps_without_a_keypoint_are_left_out(inputs: dict[str, Path]) -> None:
    examples, _ = usable(Tokens.read(inputs["tokens"]), 512)
    plain = {row.key: row for row in examples}
    rng = np.random.default_rng(0)
    drawn = [rng.random(row.rationale_tokens) for row in examples]
    of_token: dict[int, list[float]] = {}
    for row, weight in zip(examples, drawn, strict=True):
        for token, value in zip(row.target.tolist(), weight.tolist(), strict=False):
            of_token.setdefault(token, []).append(value)
    mean = {token: float(np.mean(values)) for token, values in of_token.items()}
    column = Column.of(drawn, np.float64)
    examples, _ = weighted(examples, (column, {}))
    tops = {
        (key, number): max(mean[token] for token in row.target[row.step == number].tolist())
        for key, row in plain.items()
        for number in set(row.step.tolist()) - {ANSWER}
    }
    occurrences = sorted((mean[token] for token, values in of_token.items() for _ in values), reverse=True)
    for share in [0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0]:
        heaviest = occurrences[max(0, math.ceil(share * len(occurrences)) - 1)]
        least = max(0.03, heaviest) if share else 0.0
        for row in pruned(examples, column, share):
            whole = plain[row.key]
            left = [number for (key, number), top in tops.items() if key == row.key and top >= least - 1e-6]
            kept = np.isin(whole.step, [*(left or whole.step.tolist()), ANSWER])  # nothing left: all stays
            assert row.target.tolist() == whole.target[kept].tolist()
            assert row.step.tolist() == whole.step[kept].tolist()  # numbers stay: given steps are found by them


def test_weights_that_are_all_near_one_leave_out_the_same_steps(inputs: dict[str, Path]) -> None:
    examples, _ = usable(Tokens.read(inputs["tokens"]), 512)
    rng = np.random.default_rng(0)
    drawn = [rng.uniform(0.2, 1, row.rationale_tokens) for row in examples]
    near_one = Column.of([0.9 + 0.05 * weight for weight in drawn], np.float64)
    for share in (0.001, 0.01, 0.2):
        found, expected = (pruned(examples, column, share) for column in (near_one, Column.of(drawn, np.float64)))
        assert [row.step.tolist() for row in found] == [row.step.tolist() for row in expected]
        assert share > 0.001 or sum(found.targets) < sum(examples.targets)


def test_all_steps_are_kept_if_weights_would_leave_out_half_of_the_tokens(tmp_path: Path) -> None:
    parts = ["Quiet grey doves slept here. ", "Warm bread lay on the shelf. ", "Dogs ran about all day. ", "So 7."]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    rationale = Rationale("q", 0, "How many?", None, "7", "".join(parts), tuple(steps_of(ends)))
    examples, _ = usable(tokenise(distill_tiny.tokenizer(), [rationale]), 512)
    ids, step = examples.tokens.rationale[0], examples.tokens.step[0]

    def weighed(high: list[int]) -> tuple[Examples, str | None]:
        weight = np.where(np.isin(step, high), 0.9, 0.2).astype(np.float32)
        row = {"question_id": "q", "sample": 0, "token_ids": ids, "step": step, "weight": weight}
        schemas.write(tmp_path / "weights.parquet", schemas.table([row], schemas.WEIGHTS))
        found = weigh(examples, CONFIG.model_copy(update={"keypoints": 0.01}), tmp_path)
        assert not found.rejected
        assert found.examples.weight is not None
        assert found.left_out == pytest.approx(1 - found.examples.targets.sum() / examples.targets.sum())
        return found.examples, found.why_none

    found, why = weighed([0, 2, 3])
    assert sum(found.targets) < sum(examples.targets)
    assert found[0].step.tolist() == [k for k in examples[0].step.tolist() if k != 1]
    assert why is None
    found, why = weighed([3])
    assert found[0].step.tolist() == examples[0].step.tolist()
    assert why is not None
    assert "so no step is left out" in why


@pytest.mark.parametrize("value", [0.001, 0.99])
def test_weights_that_say_nothing_are_replaced_by_ones_with_a_warning(
    inputs: dict[str, Path], value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    write_weights(inputs["weights"], value=value)
    figures = run(inputs, CONFIG, inputs["out"])
    assert "so the weights carry no information: all tokens weigh 1" in capsys.readouterr().err
    (inputs["out"] / "plain").mkdir()
    ones = run(inputs, CONFIG.model_copy(update={"token_weights": False}), inputs["out"] / "plain")
    assert figures["loss"] == ones["loss"]


@pytest.mark.parametrize("differ", [True, False])
def test_keypoints_that_leave_out_hardly_a_step_are_told(
    inputs: dict[str, Path], differ: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if differ:
        path = inputs["weights"] / "weights.parquet"
        rows = schemas.read(path, schemas.WEIGHTS).to_pylist()
        for row in rows:
            row["weight"] = [0.9 if step == max(row["step"]) else 0.1 for step in row["step"]]
        schemas.write(path, schemas.table(rows, schemas.WEIGHTS))
    figures = run(inputs, CONFIG.model_copy(update={"keypoints": 0.01}), inputs["out"])
    assert (figures["left_out"] > 0.01) == differ
    assert ("0.0% of the target tokens, so hardly any is left out" in capsys.readouterr().err) != differ


@pytest.mark.parametrize("value", [0.5, 0.99])
def test_of_several_ranks_only_the_first_warns_of_weights(
    inputs: dict[str, Path], value: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights(inputs["weights"], value=value)
    config, told = CONFIG.model_copy(update={"keypoints": 0.01}), {}
    for rank in (0, 1):
        this = Ranks()
        this.rank = rank
        monkeypatch.setattr("kpod.distill.stage.ranks", lambda this=this: this)
        folder = inputs["out"] / str(rank)
        folder.mkdir()
        run(inputs, config, folder)
        told[rank] = capsys.readouterr().err.count("warning: distill: ")
    assert told == {0: 1, 1: 0}


def test_the_stage_writes_a_plain_student_and_its_history(inputs: dict[str, Path]) -> None:
    figures = run(inputs, CONFIG, inputs["out"])
    assert sorted(path.name for path in inputs["out"].iterdir() if path.name != "work") == [
        "history.parquet",
        "student",
    ]
    history = schemas.read(inputs["out"] / "history.parquet", schemas.HISTORY).to_pylist()
    assert [(row["epoch"], row["step"], row["difficulty"]) for row in history] == [
        (0, 1, 1.0),
        (0, 2, 1.0),
        (1, 3, 2.0),
        (1, 4, 2.0),
    ]
    seconds = [figures.pop(name) for name in ("cpu_seconds", "wall_seconds")]
    assert min(seconds) > 0
    whole, _ = usable(Tokens.read(inputs["tokens"]), 512)
    assert figures == {
        "loss": history[-1]["loss"],
        "target_tokens": history[-1]["tokens"],
        "epochs": 2,
        "examples": 3,
        "questions": 2,
        "rationales_a_question": 1.5,
        "target_tokens_a_rationale": float(np.mean([len(row.target) for row in whole])),
        "quarantined": 0,
        "left_out": 0,
    }
    student = AutoModelForCausalLM.from_pretrained(inputs["out"] / "student")
    tokenizer = AutoTokenizer.from_pretrained(inputs["out"] / "student")
    prompt = tokenizer("Q: How many? A:", return_tensors="pt")
    assert student.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]
    assert not torch.equal(student.model.norm.weight, distill_tiny.llama().model.norm.weight)


def test_the_same_inputs_give_the_same_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        out = tmp_path / name
        out.mkdir()
        run(inputs, CONFIG, out)
        digests.append([sha256_tree(out / "student"), sha256_tree(out / "history.parquet")])
        assert not [path for path in (out / "student").rglob("*.json") if str(tmp_path) in path.read_text()]
    assert digests[0] == digests[1]


def test_without_weights_and_curriculum_their_files_are_not_read(inputs: dict[str, Path]) -> None:
    needed = {name: inputs[name] for name in ("tokens", "base")}
    figures = run(needed, CONFIG.model_copy(update={"token_weights": False, "progressive": False}), inputs["out"])
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    examples, _ = usable(tokenise(distill_tiny.tokenizer(), rationales), 512)
    lengths = {example.key: len(example.target) for example in examples}
    assert figures["target_tokens"] == sum(lengths.values()) + lengths["q2", 0]  # in turn
    history = schemas.read(inputs["out"] / "history.parquet", schemas.HISTORY).to_pylist()
    assert {row["difficulty"] for row in history} == {None}


def test_unusable_rows_are_quarantined_with_the_reason(inputs: dict[str, Path]) -> None:
    write_weights(inputs["weights"], without=("q1", 1))
    write_curriculum(inputs["curriculum"], without=("q2", 0))
    figures = run(inputs, CONFIG, inputs["out"])
    assert (figures["examples"], figures["quarantined"]) == (1, 2)
    found = schemas.read(inputs["out"] / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    assert {(row["row"], row["reason"]) for row in found} == {
        ("q1/1", "not in weights.parquet"),
        ("q2/0", "not in curriculum.parquet"),
    }


def test_rows_too_long_are_left_out_and_never_cut(inputs: dict[str, Path]) -> None:
    tokenizer = distill_tiny.tokenizer()
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    sizes = sorted(example.tokens for example in usable(tokenise(tokenizer, rationales), 512)[0])
    examples, rejected = usable(tokenise(tokenizer, rationales), sizes[1])
    assert sorted(example.tokens for example in examples) == sizes[:2]
    assert rejected[0]["reason"] == f"{sizes[2]} tokens, max_tokens is {sizes[1]}"
    with pytest.raises(DataError, match="no rationale can be trained on"):
        run(inputs, CONFIG.model_copy(update={"max_tokens": 8}), inputs["out"])


@pytest.mark.parametrize("value", [float("nan"), -0.1])
def test_broken_weights_are_quarantined(inputs: dict[str, Path], value: float) -> None:
    write_weights(inputs["weights"], value=value)
    with pytest.raises(DataError, match="no rationale can be trained on"):
        run(inputs, CONFIG, inputs["out"])


def test_weights_of_another_tokenizer_are_refused(inputs: dict[str, Path]) -> None:
    write_weights(inputs["weights"], offset=1)
    with pytest.raises(DataError, match="rerun the stage weights"):
        run(inputs, CONFIG, inputs["out"])


def test_near_copies_are_set_aside_and_samples_can_be_limited(inputs: dict[str, Path]) -> None:
    table = schemas.read(inputs["rationales"] / "rationales.parquet", schemas.RATIONALES).to_pylist()
    copied = next(row["rationale"] for row in table if (row["question_id"], row["sample"]) == ("q1", 0))
    for row in table:
        if (row["question_id"], row["sample"]) == ("q1", 1):
            row["rationale"] = f"  {copied.upper()}!"
    schemas.write(inputs["rationales"] / "rationales.parquet", schemas.table(table, schemas.RATIONALES))
    told = tokens.run(inputs, Form(), inputs["tokens"])
    assert (told["rationales"], told["quarantined"]) == (2, 1)
    plain = CONFIG.model_copy(update={"token_weights": False, "progressive": False})
    figures = run(inputs, plain, inputs["out"])
    assert figures["quarantined"] == 0  # counted once
    found = schemas.read(inputs["tokens"] / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    assert [(row["row"], row["reason"]) for row in found] == [("q1/1", "the same text as sample 0")]
    assert figures["rationales_a_question"] == 1


def test_fewer_samples_are_trained_for_as_many_tokens(inputs: dict[str, Path]) -> None:
    (inputs["out"] / "one").mkdir()
    plain = CONFIG.model_copy(update={"token_weights": False, "progressive": False, "budget": Budget(of="scotd")})
    every = run(inputs, plain, inputs["out"])
    one = run(inputs, plain.model_copy(update={"samples": 1}), inputs["out"] / "one")
    assert (every["examples"], one["examples"]) == (3, 2)
    assert abs(every["target_tokens"] - one["target_tokens"]) < 100


def test_a_question_without_rationale_text_still_trains_its_answer() -> None:
    silent = Rationale("q", 0, "What is 1 + 1?", None, "2", "", ())
    examples, _ = usable(tokenise(distill_tiny.tokenizer(), [silent]), 512)
    assert distill_tiny.tokenizer().decode(examples[0].target).endswith(" Therefore, the answer is 2.<eos>")
    assert len(examples[0].target) - examples[0].input_tokens(3) == len(answer_ids(distill_tiny.tokenizer(), "2"))
