"""Stage `weights` from folders to `weights.parquet`: alignment, bad rows, collapse, other students and predictors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segments import rationale_ids
from test_weighting_train import TeacherReplies
from weighting_tiny import byte_bpe, llama, question, rationale, sums, t5, unigram, word_piece, world

from kpod import observe, schemas
from kpod.config import Weights
from kpod.errors import DataError
from kpod.store.files import sha256_tree
from kpod.text.rationales import read_rationales
from kpod.training import models
from kpod.weighting import network, train
from kpod.weighting.classes import classify
from kpod.weighting.stage import run

CONFIG = Weights(heads=2, precision="fp32", epochs=1, warmup=0, batch_size=4)


def out(tmp_path: Path, name: str = "out") -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def weights(folder: Path) -> list[dict[str, Any]]:
    return schemas.read(folder / "weights.parquet", schemas.WEIGHTS).to_pylist()


def quarantined(folder: Path) -> dict[str, str]:
    return {
        row["row"]: row["reason"] for row in schemas.read(folder / "quarantine.parquet", schemas.QUARANTINE).to_pylist()
    }


def told(inputs: dict[str, Path], config: Weights, folder: Path) -> tuple[dict[str, float], TeacherReplies]:
    seen = TeacherReplies()
    with observe.observing(seen):
        return run(inputs, config, folder), seen


def test_weights_are_aligned_with_the_students_ids_and_steps(tmp_path: Path) -> None:
    questions, texts = sums(8)
    inputs = world(tmp_path, questions, [*reversed(texts), rationale("q003", "It is 9. Yes, 9.", sample=1)])
    folder = out(tmp_path)
    figures = run(inputs, CONFIG, folder)
    rows = weights(folder)
    assert [(r["question_id"], r["sample"]) for r in rows] == sorted([(q["id"], 0) for q in questions] + [("q003", 1)])
    known = {one.key: one for one in read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])}
    tokenizer = models.load(inputs["base"] / "student")[1]
    for row in rows:
        one = known[row["question_id"], row["sample"]]
        [(ids, step)] = rationale_ids(tokenizer, [one.text], [one.steps])
        assert row["token_ids"] == ids.tolist()
        assert row["step"] == step.tolist()
        assert len(row["weight"]) == len(ids)
        assert all(0 < w < 1 for w in row["weight"])
    assert figures["rationales"] == 9
    assert figures["quarantined"] == 0
    assert figures["tokens"] == sum(len(r["weight"]) for r in rows)
    assert {"weight_digit", "weight_operator", "weight_function"} <= figures.keys()
    assert not (folder / "quarantine.parquet").exists()


def test_the_saved_weighter_gives_the_stored_weights(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(6))
    folder = out(tmp_path)
    run(inputs, CONFIG, folder)
    weighter = network.load(folder / "weighter")
    embed = models.load(inputs["base"] / "student")[0].get_input_embeddings()
    for row in weights(folder):
        raw = embed(torch.tensor([row["token_ids"]]))
        with torch.no_grad():
            alone = torch.sigmoid(weighter(raw, torch.ones(raw.shape[:2], dtype=torch.bool)))[0]
        np.testing.assert_allclose(row["weight"], alone.numpy(), rtol=1e-4, atol=1e-6)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(6))
    for name in ("one", "two"):
        run(inputs, CONFIG, out(tmp_path, name))
    assert sha256_tree(tmp_path / "one" / "weighter") == sha256_tree(tmp_path / "two" / "weighter")
    one, two = ((tmp_path / name / "weights.parquet").read_bytes() for name in ("one", "two"))
    assert one == two


def test_bad_rows_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    questions, texts = sums(4)
    questions += [
        question(n, "How many?", a) for n, a in (("long", "7"), ("one", "7"), ("dropped", "7"), ("blank", "  "))
    ]
    texts += [
        rationale("long", "Tom has 3 apples. " * 400),
        rationale("one", "7"),
        rationale("dropped", "7", kept=False),
        rationale("blank", "It is 7."),
        rationale("nowhere", "It is 7."),
        rationale("q000", "", sample=1),
    ]
    inputs = world(tmp_path, questions, texts)
    folder = out(tmp_path)
    figures = run(inputs, CONFIG, folder)
    reasons = quarantined(folder)
    assert set(reasons) == {"long/0"}
    assert f"max_tokens is {CONFIG.max_tokens}" in reasons["long/0"]
    assert figures["quarantined"] == 1
    assert quarantined(inputs["tokens"]) == {
        "blank/0": "the question has no answer",
        "nowhere/0": "no question of this id",
        "q000/1": "no step",
    }
    assert {r["question_id"] for r in weights(folder)} == {q["id"] for q in questions[:4]} | {"one"}


def test_an_answer_that_the_predictor_cannot_write_is_quarantined(tmp_path: Path) -> None:
    questions, texts = sums(4)
    for row in questions:
        row["answer"] = "7"
    questions[1]["answer"] = "数"
    tokenizer = unigram()
    inputs = world(tmp_path, questions, texts, t5(len(tokenizer)), tokenizer)
    folder = out(tmp_path)
    run(inputs, CONFIG, folder)
    assert quarantined(folder) == {"q001/0": "the answer cannot be encoded"}


def test_no_usable_rationale_is_one_clear_line(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(2))
    with pytest.raises(DataError, match=r"none of 2 rationales is usable; first: .* max_tokens is 8") as caught:
        run(inputs, CONFIG.model_copy(update={"max_tokens": 8}), out(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("start", "collapsed"), [(0.02, True), (0.98, True), (0.5, False)])
def test_a_collapse_is_a_warning_and_a_figure(
    tmp_path: Path, start: float, collapsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "START", start)
    inputs = world(tmp_path, *sums(4))
    figures, seen = told(inputs, CONFIG.model_copy(update={"lr": 1e-9}), out(tmp_path))
    assert figures["collapsed"] == collapsed
    assert any("collapsed to a mean of" in message for message in seen.warnings) == collapsed


def test_a_strong_mask_loss_closes_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_PATIENCE", 9)
    inputs = world(tmp_path, *sums(8))
    config = CONFIG.model_copy(update={"alpha": 500.0, "epochs": 6, "lr": 3e-2})
    assert run(inputs, config, out(tmp_path))["weight"] < 0.2


def test_the_rule_needs_no_training(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(3))
    folder = out(tmp_path)
    figures = run(inputs, CONFIG.model_copy(update={"source": "rule"}), folder)
    assert not (folder / "weighter").exists()
    assert figures["weight_digit"] == pytest.approx(0.9)
    assert figures["weight_operator"] == pytest.approx(0.9)
    assert figures["weight_function"] == pytest.approx(0.02)
    assert {round(w, 3) for row in weights(folder) for w in row["weight"]} == {0.9, 0.02}


def test_a_predictor_of_another_width_and_vocabulary(tmp_path: Path) -> None:
    tokenizer = word_piece()
    folder = tmp_path / "predictor"
    llama(len(tokenizer), seed=1, width=48).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    questions, texts = sums(6)
    for row in questions:
        row["answer"] = "7"  # of the words of its small vocabulary
    inputs = world(tmp_path, questions, texts)
    figures, seen = told(inputs, CONFIG.model_copy(update={"predictor": folder}), out(tmp_path))
    assert figures["rationales"] == 6
    assert all(values["gradient"] > 1e-9 for _, values in seen.curves if "gradient" in values)


def test_bf16_trains_and_infers(tmp_path: Path) -> None:
    inputs = world(tmp_path, *sums(4))
    figures = run(inputs, CONFIG.model_copy(update={"precision": "bf16"}), out(tmp_path))
    assert np.isfinite(list(figures.values())).all()


def test_a_closing_statement_moves_no_weight_and_weighs_one(tmp_path: Path) -> None:
    """One weighter on two texts that differ in nothing but the answer that closes them."""
    first = out(tmp_path, "first")
    questions, texts = sums(3)
    run(world(tmp_path / "a", questions, texts), CONFIG, first)
    applied = CONFIG.model_copy(update={"weighter": first / "weighter"})
    body = "Tom has 3 apples. So 3 + 4 makes them 7 apples."
    found = []
    for answer in "72":
        closed = [{**row, "rationale": f"{body} Therefore, the answer is {answer}."} for row in texts]
        folder = out(tmp_path, f"closed-{answer}")
        run(world(tmp_path / answer, questions, closed), applied, folder)
        found.append(weights(folder)[0])
    one, other = found
    inside = len(byte_bpe()(f" {body}", add_special_tokens=False)["input_ids"])
    assert one["token_ids"] != other["token_ids"]
    assert one["weight"][:inside] == other["weight"][:inside]
    assert set(one["weight"][inside:]) == set(other["weight"][inside:]) == {1.0}
    assert len(set(one["weight"][:inside])) > 1


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    """Real torchrun processes over gloo; curves and bars of the first reach whoever watches here."""
    inputs = world(tmp_path, *sums(7))
    one, two = out(tmp_path, "one"), out(tmp_path, "two")
    figures, seen = told(inputs, CONFIG, one)
    together, too = told(inputs, CONFIG.model_copy(update={"processes": 2}), two)
    assert together == pytest.approx(figures, rel=1e-4, abs=1e-5)
    assert [step for step, _ in too.curves] == [step for step, _ in seen.curves]
    assert too.bars == seen.bars
    for mine, theirs in zip(weights(one), weights(two), strict=True):
        assert mine["token_ids"] == theirs["token_ids"]
        np.testing.assert_allclose(mine["weight"], theirs["weight"], rtol=1e-4, atol=1e-5)


def test_classes_of_tokens() -> None:
    text = "Then Tom, who has 3 x 450 = $1350, meets Ann. Tom pays."
    words = ["Then", "Tom", ",", "who", "has", "3", "x", "450", "=", "$", "1350", "meets", "Ann", ".", "pays"]
    places = [text.index(word) for word in words]
    found = classify(text, np.array([(at, at + len(w)) for at, w in zip(places, words, strict=True)]))
    assert dict(zip(words, found, strict=True)) == {
        "Then": "function", "Tom": "name", ",": "mark", "who": "function", "has": "function", "3": "digit",
        "x": "operator", "450": "digit", "=": "operator", "$": "mark", "1350": "digit", "meets": "other",
        "Ann": "name", ".": "mark", "pays": "other",
    }  # fmt: skip


def test_a_byte_tokenizer_spells_out_what_it_does_not_know(tmp_path: Path) -> None:
    """Emoji, accents and no-break spaces in a rationale: one weight a token, whatever the bytes."""
    questions, texts = sums(3)
    texts[0]["rationale"] = "数は7。 It is\u00a07 🙂 <eos> e\u0301."
    inputs = world(tmp_path, questions, texts, tokenizer=byte_bpe())
    folder = out(tmp_path)
    run(inputs, CONFIG, folder)
    row = weights(folder)[0]
    assert len(row["token_ids"]) == len(row["step"]) == len(row["weight"]) > 10
    assert row["step"] == sorted(row["step"])
