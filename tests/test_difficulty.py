"""Stage `difficulty` against a slow reference: one forward pass a token, one rationale at a time, sums in loops."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from weighting_tiny import MODELS, byte_bpe, question, rationale, unigram, world

from kpod import schemas
from kpod.config import Difficulty
from kpod.difficulty import stage
from kpod.difficulty.stage import step_difficulty
from kpod.errors import DataError
from kpod.steps.cutting import split
from kpod.text.table import Tokens
from kpod.training.examples import usable
from kpod.training.ranks import Ranks, ranks

QUESTIONS = [
    question("b", "Tom has 3 apples and gets 4 more. How many apples?", "7"),
    question("a", "Which is red?", "A", ["apple", "sky"]),
]
TEXTS = {
    ("b", 0): "Tom has 3 apples.\nHe gets 4 more. So 3 + 4 = 7 apples.",
    ("b", 1): "It costs $3.50 each, e.g. for 2. Done",
    ("a", 0): "Apples are red",
}
STUDENTS = {"llama": byte_bpe, "gpt2": byte_bpe, "t5": unigram}
TOKENIZERS = {name: build() for name, build in STUDENTS.items()}
WEIGHTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.1},
    {"weighting": "normalised"},
    {"weighting": "uniform"},
]


@cache
def model(name: str) -> Any:
    return MODELS[name](len(TOKENIZERS[name]))


@cache
@torch.no_grad()
def reference_tokens(name: str, key: tuple[str, int]) -> tuple[list[int], list[float], list[int], list[float]]:
    """Ids, -log P, step and weight of each token of a rationale, token by token; the prompt is written out by hand."""
    asked = next(row for row in QUESTIONS if row["id"] == key[0])
    choices = " Answer choices: (A) apple (B) sky" if asked["choices"] else ""
    text, tokenizer = TEXTS[key], TOKENIZERS[name]
    prompt = tokenizer(f"Q: {asked['question']}{choices} A: Let's think step by step.")["input_ids"]
    encoded = tokenizer(f" {text}", add_special_tokens=False, return_offsets_mapping=True)
    ids, losses, steps = encoded["input_ids"], [], []
    ends = np.cumsum([len(part) for part in split(text)])
    for j, (start, _) in enumerate(encoded["offset_mapping"]):
        if name == "t5":
            given = {"input_ids": [prompt], "decoder_input_ids": [[0, *ids[:j]]]}
        else:
            given = {"input_ids": [[*prompt, *ids[:j]]]}
        logits = model(name)(**{argument: torch.tensor(value) for argument, value in given.items()}).logits[0, -1]
        losses.append(-float(torch.log_softmax(logits.double(), -1)[ids[j]]))
        steps.append(next(k for k, end in enumerate(ends) if max(start - 1, 0) < end))  # one space stands before
    weights = np.random.default_rng(len(ids)).random(len(ids)).astype(np.float32)
    return ids, losses, steps, weights.tolist()


def eq8(losses: list[float], weights: list[float], weighting: str = "softmax", temperature: float = 1.0) -> float:
    """One step."""
    shares = {
        "softmax": [math.exp(w / temperature) for w in weights],
        "normalised": weights,
        "uniform": [1.0] * len(weights),
    }[weighting]
    return math.fsum(share * loss for share, loss in zip(shares, losses, strict=True)) / math.fsum(shares)


def folders(root: Path, name: str) -> dict[str, Path]:
    inputs = world(
        root, QUESTIONS, [rationale(q, text, sample=s) for (q, s), text in TEXTS.items()], model(name), TOKENIZERS[name]
    )
    inputs["weights"], inputs["out"] = root / "weights", root / "out"
    inputs["weights"].mkdir()
    inputs["out"].mkdir()
    rows = []
    for q, s in reversed(TEXTS):  # nothing goes by position
        ids, _, steps, weights = reference_tokens(name, (q, s))
        rows.append({"question_id": q, "sample": s, "token_ids": ids, "step": steps, "weight": weights})
    schemas.write(inputs["weights"] / "weights.parquet", schemas.table(rows, schemas.WEIGHTS))
    return inputs


def scored(inputs: dict[str, Path], **settings: Any) -> list[dict[str, Any]]:
    stage.run(inputs, Difficulty(**{"precision": "fp32", **settings}), inputs["out"])
    return schemas.read(inputs["out"] / "difficulty.parquet", schemas.DIFFICULTY).to_pylist()


def expected(name: str, **settings: Any) -> list[dict[str, Any]]:
    rows = []
    for q, s in TEXTS:
        _, losses, steps, weights = reference_tokens(name, (q, s))
        for k in range(len(split(TEXTS[q, s]))):
            chosen = [j for j, step in enumerate(steps) if step == k]
            value = eq8([losses[j] for j in chosen], [weights[j] for j in chosen], **settings)
            rows.append({"question_id": q, "sample": s, "step": k, "difficulty": value, "tokens": len(chosen)})
    return rows


def apart(found: list[dict[str, Any]], reference: list[dict[str, Any]]) -> float:
    """Largest difference of difficulties; everything else has to be the same."""
    names = ("question_id", "sample", "step", "tokens")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in reference]
    return max(abs(a["difficulty"] - b["difficulty"]) for a, b in zip(found, reference, strict=True))


@pytest.mark.parametrize("name", STUDENTS)
def test_equals_the_token_by_token_reference(tmp_path: Path, name: str) -> None:
    inputs = folders(tmp_path, name)
    for settings in WEIGHTINGS:
        reference = expected(name, **settings)
        assert min(row["tokens"] for row in reference) > 1  # else no share matters
        for batch_tokens in (1, 4096):  # every rationale alone, or all padded to one length
            assert apart(scored(inputs, batch_tokens=batch_tokens, **settings), reference) < 1e-4
    assert apart(expected(name), expected(name, weighting="uniform")) > 1e-3  # what is compared does differ


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_bf16_is_near_and_is_bf16(tmp_path: Path, name: str) -> None:
    distance = apart(scored(folders(tmp_path, name), precision="bf16"), expected(name))
    level = np.mean([row["difficulty"] for row in expected(name)])
    assert 1e-5 * level < distance < 0.05 * level


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Real torchrun processes over gloo; of three batches the second rank has one."""
    inputs = folders(tmp_path, "llama")
    one = stage.run(inputs, Difficulty(precision="fp32", batch_tokens=1), inputs["out"])
    alone = pq.read_table(inputs["out"] / "difficulty.parquet")
    (inputs["out"] / "difficulty.parquet").unlink()
    two = stage.run(inputs, Difficulty(precision="fp32", batch_tokens=1, processes=2), inputs["out"])
    together = pq.read_table(inputs["out"] / "difficulty.parquet")
    assert two == pytest.approx(one, rel=1e-6)
    assert apart(together.to_pylist(), alone.to_pylist()) < 1e-5


@pytest.mark.parametrize("world_size", [2, 5])
def test_ranks_share_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    """Each rationale is scored by one rank; a rank may have none."""
    inputs, found = folders(tmp_path, "t5"), []
    examples, _ = usable(Tokens.read(inputs["tokens"]), 512)
    monkeypatch.setattr(ranks(), "world", world_size)
    monkeypatch.setattr(Ranks, "total", lambda _, value: found.append(value.numpy().copy()) or value)  # type: ignore[func-returns-value]
    for rank in range(world_size):
        monkeypatch.setattr(ranks(), "rank", rank)
        stage.token_losses(model("t5"), TOKENIZERS["t5"].pad_token_id, examples, 1)
    assert (np.count_nonzero(found, axis=0) == 1).all()
    expected = np.concatenate([reference_tokens("t5", one.key)[1] for one in examples])
    np.testing.assert_allclose(np.sum(found, axis=0), expected, atol=1e-4)


def test_rows_that_cannot_be_scored_are_set_aside(tmp_path: Path) -> None:
    inputs = folders(tmp_path, "llama")
    path = inputs["weights"] / "weights.parquet"
    kept = [row for row in schemas.read(path, schemas.WEIGHTS).to_pylist() if row["question_id"] == "b"]
    schemas.write(path, schemas.table(kept, schemas.WEIGHTS))
    metrics = stage.run(inputs, Difficulty(precision="fp32"), inputs["out"])
    assert (metrics["rationales"], metrics["quarantined"]) == (2, 1)
    [row] = pq.read_table(inputs["out"] / "quarantine.parquet").to_pylist()
    assert (row["row"], row["reason"]) == ("a/0", "not in weights.parquet")
    with pytest.raises(DataError, match="no rationale can be scored") as error:
        stage.run(inputs, Difficulty(precision="fp32", max_tokens=8), inputs["out"])
    assert "\n" not in str(error.value)


tokens = st.tuples(st.floats(0, 50), st.floats(0, 1, width=32), st.integers(0, 4))


@given(
    st.lists(tokens, max_size=30),
    st.sampled_from(["softmax", "normalised", "uniform"]),
    st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 1e3]),
)
@example([(1.0, 0.0, 0), (3.0, 0.0, 0), (5.0, 1.0, 1)], "normalised", 1.0)  # only zero weights: equal shares
@example([(1.0, 0.1, 0), (5.0, 1.0, 1)], "softmax", 1e-6)  # one step's weights far below another's
def test_shares_are_taken_within_a_step(
    rows: list[tuple[float, float, int]], weighting: str, temperature: float
) -> None:
    config = Difficulty(weighting=weighting, temperature=temperature)  # type: ignore[arg-type]
    nll, weight = (np.array([row[i] for row in rows], dtype=np.float32) for i in (0, 1))
    found = step_difficulty(nll, weight, np.array([row[2] for row in rows], dtype=np.int64), 6, config)
    assert found.shape == (6,)
    for k in range(6):
        losses = [float(a) for a, row in zip(nll, rows, strict=True) if row[2] == k]
        weights = [float(w) for w, row in zip(weight, rows, strict=True) if row[2] == k]
        if not losses:
            assert found[k] == 0
            continue
        assert min(losses) - 1e-9 <= found[k] <= max(losses) + 1e-9
        if weighting == "softmax":
            shares = [math.exp((w - max(weights)) / temperature) for w in weights]
        else:
            shares = [1.0] * len(weights) if weighting == "uniform" or not any(weights) else weights
        total = math.fsum(shares)
        assert found[k] == pytest.approx(
            math.fsum(s / total * a for s, a in zip(shares, losses, strict=True)), abs=1e-9
        )


def test_the_default_is_nearly_flat() -> None:
    """w lies in (0, 1): no token weighs more than e times as much as another in its step (Eq. 8)."""
    unlike = step_difficulty(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([0, 0]), 1, Difficulty())
    assert unlike[0] == pytest.approx(math.e / (math.e + 1))
