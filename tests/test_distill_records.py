"""The two variants that change what is trained on: counterfactual records, and records in several formats."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import chat_tokenizers
import distill_tiny
import numpy as np
import pytest
import torch.nn.functional as F
from chat_tokenizers import Family
from segments import answer_ids
from test_distill_objectives import ALONE, labels, own_logits, settings
from test_distill_stage import QUESTIONS, TEXTS, inputs  # noqa: F401

from kpod import schemas
from kpod.config import Distill, Form
from kpod.config.methods import Scott, Specialized
from kpod.distill.stage import run
from kpod.errors import ConfigError, DataError
from kpod.methods import Objective, StudentData, objective_of
from kpod.methods.scott import FORM
from kpod.methods.specialized import AT_ONCE, other_formats
from kpod.text.chat import resolve
from kpod.text.formats import COT, PromptFormat
from kpod.text.rationales import read_rationales
from kpod.tokens.rows import tokenise
from kpod.training import models
from kpod.training.examples import Examples, arranged, usable

WRONG = "Tom has 3 apples. 3 - 4 = 1."


def answered(folder: Path, **wrong: Any) -> None:
    """Add a rationale of q2 that went wrong."""
    path = folder / "rationales.parquet"
    found = schemas.read(path, schemas.RATIONALES).to_pylist()
    row = {**found[0], "question_id": "q2", "sample": 1, "rationale": WRONG, "answer": "1", "correct": False}
    row |= {"kept": False, "drop_reason": "wrong-answer", **wrong}
    schemas.write(path, schemas.table([*found, row], schemas.RATIONALES))


def data(inputs: dict[str, Path], template: str | None = None) -> StudentData:  # noqa: F811
    """In the paper's form, or of a student with a chat template."""
    tokenizer = chat_tokenizers.tokenizer(template) if template else distill_tiny.tokenizer()
    form = resolve(tokenizer, Form()) if template else COT
    rationales = read_rationales(inputs["questions"], inputs["rationales"], inputs["steps"])
    examples, _ = usable(tokenise(tokenizer, rationales, form), 512)
    return StudentData(tokenizer, examples, inputs, form)


def objective(config: Distill, rows: Examples) -> Objective:
    return objective_of(config)(rows, np.zeros((1, len(rows)), int), config)


def test_scott_trains_the_wrong_answer_behind_its_wrong_rationale(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    answered(inputs["rationales"])
    config = settings(Scott(alpha=0.25), budget={"epochs": 1})
    rows, _ = arranged(objective_of(config).make_examples(data(inputs), config), None)
    assert [row.key for row in rows] == [("q1", 0), ("q1", 1), ("q2", 0), ("q2", 1)]
    wrong, tokenizer = rows[-1], distill_tiny.tokenizer()
    assert wrong.form == FORM
    assert tokenizer.decode(wrong.prompt) == "Q: [Counterfactual] What is half of 6? A: Let's think step by step."
    assert tokenizer.decode(wrong.target) == f" {WRONG} Therefore, the answer is 1.<eos>"
    skip = objective(config, rows).input_tokens(0)
    answer = len(answer_ids(tokenizer, "1"))
    assert list(skip) == [0, 0, 0, len(wrong.target) - answer]

    model, _ = models.load(inputs["base"] / "student")
    turn = [0, 2, 3]  # one right and one wrong rationale of each question
    nll = [
        F.cross_entropy(own_logits(model, r)[s:], labels(r)[s:], reduction="none")
        for r, s in ((rows[i], skip[i]) for i in turn)
    ]
    expected = (sum(one.sum() for one in nll[:2]) + 0.25 * nll[2].sum()) / sum(map(len, nll))
    found = run(inputs, config, inputs["out"])
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["examples"] == 4


def test_scott_takes_kept_wrong_rationales_as_counterfactual_only(inputs: dict[str, Path]) -> None:  # noqa: F811
    answered(inputs["rationales"], kept=True, drop_reason=None)
    (inputs["steps"] / "steps.parquet").unlink()
    cut = [(*key, k, a, b) for key, (_, ends) in TEXTS.items() for k, (a, b) in enumerate(zip([0, *ends], ends))]  # noqa: B905
    cut.append(("q2", 1, 0, 0, len(WRONG)))
    names = ("question_id", "sample", "step", "char_start", "char_end")
    table = schemas.table([{**dict(zip(names, row, strict=True)), "text": ""} for row in cut], schemas.STEPS)
    schemas.write(inputs["steps"] / "steps.parquet", table)
    config = settings(Scott())
    assert ("q2", 1) in data(inputs).rationales
    rows = objective_of(config).make_examples(data(inputs), config)
    assert [(row.key, row.form) for row in rows if row.key == ("q2", 1)] == [(("q2", 1), FORM)]


def test_scott_without_wrong_answers_and_too_long_ones(inputs: dict[str, Path]) -> None:  # noqa: F811
    config = settings(Scott())
    with pytest.raises(DataError, match="no wrong answer"):
        run(inputs, config, inputs["out"])
    answered(inputs["rationales"], answer=None, drop_reason="no-answer")
    with pytest.raises(DataError, match="no wrong answer"):
        run(inputs, config, inputs["out"])
    answered(inputs["rationales"], sample=2, rationale=WRONG * 100)
    run(inputs, config, inputs["out"])
    rejected = schemas.read(inputs["out"] / "quarantine.parquet", schemas.QUARANTINE)
    assert rejected["row"].to_pylist() == ["q2/2"]


def test_specialized_writes_each_right_rationale_in_four_formats(inputs: dict[str, Path]) -> None:  # noqa: F811
    answered(inputs["rationales"], kept=True, drop_reason=None)  # has no steps, and is wrong: not among the records
    config = settings(Specialized(shots=1))
    rows = objective_of(config).make_examples(data(inputs), config)
    decode = distill_tiny.tokenizer().decode
    texts = {row.form: (decode(row.prompt), decode(row.target)) for row in rows if row.key == ("q1", 1)}
    text, shot = TEXTS["q1", 1][0], TEXTS["q2", 0][0]
    asked, other = QUESTIONS["q1"][0], QUESTIONS["q2"][0]
    end = " Therefore, the answer is 7.<eos>"
    think = "Let's think step by step."
    assert texts == {
        "": (f"Q: {asked} A: {think}", f" {text}{end}"),
        "answer": (f"Q: {asked} A:", end),
        "in-context ": (
            f"Q: {other} A: {think} {shot} Therefore, the answer is 3.\nQ: {asked} A: {think}",
            f" {text}{end}",
        ),
        "in-context answer": (f"Q: {other} A: Therefore, the answer is 3.\nQ: {asked} A:", end),
    }
    assert {row.key for row in rows} == set(TEXTS)


def test_specialized_shows_a_chat_student_worked_questions_as_earlier_turns(inputs: dict[str, Path]) -> None:  # noqa: F811
    config = settings(Specialized(shots=1))
    chat = data(inputs, chat_tokenizers.QWEN25)
    rows = objective_of(config).make_examples(chat, config)
    texts = {
        row.form: (chat.tokenizer.decode(row.prompt), chat.tokenizer.decode(row.target))
        for row in rows
        if row.key == ("q1", 1)
    }
    text, shot = TEXTS["q1", 1][0], TEXTS["q2", 0][0]
    asked, other = QUESTIONS["q1"][0], QUESTIONS["q2"][0]
    system, turn = "<|start|>system\nYou help.<|end|>\n", "<|start|>{}\n{}<|end|>\n"
    end, reply = " Therefore, the answer is 7.<|end|>", "<|start|>assistant\n"

    def dialogue(*said: str) -> str:
        turns = [turn.format(role, one) for role, one in zip(("user", "assistant", "user"), said, strict=False)]
        return f"{system}{''.join(turns)}{reply}"

    assert texts == {
        "": (dialogue(asked), f"{text}{end}"),
        "answer": (dialogue(f"{asked}\n{AT_ONCE}"), end),
        "in-context ": (dialogue(other, f"{shot} Therefore, the answer is 3.", asked), f"{text}{end}"),
        "in-context answer": (
            dialogue(f"{other}\n{AT_ONCE}", "Therefore, the answer is 3.", f"{asked}\n{AT_ONCE}"),
            end,
        ),
    }


@pytest.mark.parametrize("family", chat_tokenizers.FAMILIES.values(), ids=chat_tokenizers.FAMILIES)
def test_specialized_speaks_every_family_of_templates(inputs: dict[str, Path], family: Family) -> None:  # noqa: F811
    config = settings(Specialized(shots=2))
    chat = data(inputs, family.template)
    chat.rationales[("q3", 0)] = replace(chat.rationales[("q2", 0)], question_id="q3")
    plain = next(one for one in chat.examples if one.key == ("q1", 0))
    made = other_formats(chat, plain, [chat.rationales[key] for key in (("q2", 0), ("q3", 0))])
    assert [one.form for one in made] == ["answer", "in-context answer", "in-context "]
    assert all(one.prompt[-1] == plain.prompt[-1] for one in made)  # the assistant's turn begins
    assert config.objective.kind == "specialized"


def test_specialized_leaves_worked_questions_out_where_a_text_holds_a_special_token(inputs: dict[str, Path]) -> None:  # noqa: F811
    chat = data(inputs, chat_tokenizers.QWEN25)
    shot = replace(chat.rationales[("q2", 0)], text="So <|end|> it is 3.")
    made = other_formats(chat, chat.examples[0], [shot])
    assert [one.form for one in made] == ["answer", "in-context answer"]


def test_specialized_refuses_a_template_that_loses_turns_and_prompts_of_ones_own(inputs: dict[str, Path]) -> None:  # noqa: F811
    forgetful = "{{ '<|start|>user\n' + messages[-1]['content'] + '<|end|>\n<|start|>assistant\n' }}"
    chat = data(inputs, forgetful)
    with pytest.raises(ConfigError, match="loses earlier turns"):
        other_formats(chat, chat.examples[0], [chat.rationales[("q2", 0)]])
    config = settings(Specialized(shots=1))
    with pytest.raises(ConfigError, match=r"specialized has prompts of its own"):
        objective_of(config).make_examples(replace(chat, form=PromptFormat(kind="custom")), config)


def test_specialized_draws_a_format_of_each_rationale_each_epoch(inputs: dict[str, Path]) -> None:  # noqa: F811
    def drawn(**of: float) -> set[str]:
        config = settings(Specialized(shots=1, **of), budget={"epochs": 30})
        rows = objective_of(config).make_examples(data(inputs), config)
        mixed = objective(config, rows)
        found = set()
        for epoch in range(30):
            chosen = [rows[unit[0]] for unit in mixed.units(epoch)]
            assert {row.key for row in chosen} < set(TEXTS)
            assert sorted(row.key[0] for row in chosen) == ["q1", "q2"]  # one rationale of each, in turn
            found |= {row.form for row in chosen}
        return found

    assert drawn() == {"", "answer", "in-context ", "in-context answer"}
    assert drawn(in_context=0, answer_only=0) == {""}
    assert drawn(in_context=1, answer_only=1) == {"in-context answer"}
    assert drawn(in_context=0) == {"", "answer"}


def test_specialized_leaves_worked_questions_out_where_they_do_not_fit(inputs: dict[str, Path]) -> None:  # noqa: F811
    config = settings(Specialized(shots=1, in_context=1, answer_only=0))
    longest = max(example.tokens for example in data(inputs).examples)
    config = config.model_copy(update={"max_tokens": longest})
    rows = objective_of(config).make_examples(data(inputs), config)
    assert {row.form for row in rows if row.tokens > longest} == set()
    assert {rows[unit[0]].form for unit in objective(config, rows).units(0)} == {""}
    with pytest.raises(DataError, match=r"variants\.specialized\.shots 2 needs right answers"):
        run(inputs, Distill(objective=Specialized(), **ALONE), inputs["out"])
    assert run(inputs, settings(Specialized(shots=1), budget={"epochs": 2}), inputs["out"])["examples"] == 12
