"""The question that tells two students apart, and the weights of a student's own words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import weighting_tiny as tiny
from report_sample import METHODS, full_report
from torch import nn

from kpod.errors import ModelError
from kpod.report.costs import compared_at, cost
from kpod.report.data import Cost
from kpod.report.example import find, with_weights
from kpod.report.headline import compared
from kpod.report.token_views import Scale
from kpod.text.formats import COT, PromptFormat
from kpod.text.tokens import token_spans
from kpod.training.models import input_embedding
from kpod.weighting import network
from kpod.weighting.texts import text_weights

TEXTS = ("Tom has 3 + 4 = 7 apples. Anna gives 2 away.", "Anna owns 12 shells.", "")


@pytest.mark.parametrize("model", [tiny.llama, tiny.gpt2, tiny.t5], ids=lambda make: make.__name__)
def test_only_the_embedding_is_read_and_the_weights_are_those_of_the_weighter(tmp_path: Path, model: object) -> None:
    tokenizer = tiny.byte_bpe()
    student = model(len(tokenizer))  # type: ignore[operator]
    student.save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    embedding = student.get_input_embeddings()
    assert input_embedding(tmp_path / "student").equal(embedding.weight)
    weighter = network.Weighter(embedding.weight.shape[1], hidden=8, heads=2)
    for parameter in weighter.parameters():
        nn.init.normal_(parameter, std=0.2)
    network.save(weighter, tmp_path / "weighter")
    found = text_weights(TEXTS, tmp_path / "weighter", tmp_path / "student")
    for text, (ids, _), weights in zip(TEXTS[:2], token_spans(tokenizer, TEXTS[:2]), found[:2], strict=True):
        assert weights is not None
        assert len(weights) == len(ids)
        [alone] = text_weights([text], tmp_path / "weighter", tmp_path / "student")
        assert weights == pytest.approx(alone, abs=1e-6)
        assert np.ptp(weights) > 1e-3


def test_a_student_without_embedding_is_named(tmp_path: Path) -> None:
    tokenizer = tiny.byte_bpe()
    tiny.llama(len(tokenizer)).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="rerun the stage base"):
        input_embedding(tmp_path)


def test_the_example_is_a_question_of_which_one_student_is_right() -> None:
    data = full_report(60)
    assert data.questions is not None
    found = find(data.predictions, data.questions)
    assert found is not None
    assert [one.method for one in found.students] == ["scotd", "kpod"]
    assert sum(one.correct for one in found.students) == 1
    rows = {
        method: {r["question_id"]: r for r in data.predictions[method].to_pylist() if r["dataset"] == found.dataset}
        for method in ("scotd", "kpod")
    }
    assert found.questions == len(rows["kpod"])
    alone = [name for name, row in rows["kpod"].items() if row["correct"] > rows["scotd"][name]["correct"]]
    assert found.only_b == len(alone)
    assert [one.predicted for one in found.students] == [rows[m][found.question_id]["predicted"] for m in rows]


def test_students_that_agree_or_stand_alone_have_no_example() -> None:
    data = full_report(12)
    assert data.questions is not None
    table = data.predictions["kpod"]
    assert find({"scotd": table, "kpod": table}, data.questions) is None
    assert find({"kpod": table}, data.questions) is None


def test_the_pair_is_plain_distillation_and_the_last_method() -> None:
    assert compared(METHODS) == ("scotd", "kpod")
    assert compared(["base", "acl", "spl", "kpod"]) == ("spl", "kpod")
    assert compared(["base", "kpod"]) == ("base", "kpod")
    assert compared(["kpod"]) is None


def test_shaded_words_are_the_students_own_with_their_steps(tmp_path: Path) -> None:
    tokenizer = tiny.byte_bpe()
    tiny.llama(len(tokenizer)).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    network.save(network.Weighter(32, hidden=8, heads=2), tmp_path / "weighter")
    data = full_report(30)
    assert data.questions is not None
    example = find(data.predictions, data.questions)
    assert example is not None
    plain, other = example.students
    example = replace(example, students=(replace(plain, completion=TEXTS[0]), replace(other, completion=TEXTS[2])))
    shown = with_weights(example, tmp_path / "weighter", tmp_path / "student", tokenizer, Scale(0.0, 1.0))
    assert "".join(token.text for token in shown.students[0].tokens).strip() == TEXTS[0]
    assert sum(token.starts_step for token in shown.students[0].tokens) == 1
    assert "".join(token.text for token in shown.students[1].tokens).strip() == ""


def test_words_are_read_as_they_stand_behind_the_prompt(tmp_path: Path) -> None:
    tokenizer = tiny.byte_bpe()
    tiny.llama(len(tokenizer)).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    network.save(network.Weighter(32, hidden=8, heads=2), tmp_path / "weighter")
    chat = PromptFormat(kind="chat", lead="")
    data = full_report(30)
    assert data.questions is not None
    example = find(data.predictions, data.questions)
    assert example is not None
    first, other = example.students
    example = replace(example, students=(replace(first, completion=TEXTS[0]), replace(other, completion=TEXTS[1])))
    folders = (tmp_path / "weighter", tmp_path / "student")
    [(spaced, _)], [(bare, _)] = (token_spans(tokenizer, TEXTS[:1], lead) for lead in (" ", ""))
    assert spaced.tolist() != bare.tolist()
    for form, ids in ((COT, spaced), (chat, bare)):
        weights = text_weights(TEXTS[:1], *folders, form)[0]
        assert weights is not None
        assert len(weights) == len(ids)
        shown = with_weights(example, *folders, tokenizer, Scale(0.0, 1.0), form).students[0].tokens
        assert "".join(token.text for token in shown) == f"{form.lead}{TEXTS[0]}"


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([Cost(1000, 4.0), Cost(1015, 6.0)], "at equal target tokens"),
        ([Cost(13_188, 6.0), Cost(12_817, 5.0)], "at equal target tokens"),  # one batch apart in a very small run
        ([Cost(1000, 4.0), Cost(940, 3.0)], "at different budgets"),
        ([Cost(1000, 4.0), Cost(700, 4.0)], "at equal epochs"),
        ([Cost(1000, 4.0), Cost(700, 3.0)], "at different budgets"),
        ([Cost(1000), Cost(700)], "at different budgets"),
        ([Cost(1000, 4.0)], ""),
    ],
)
def test_tables_say_at_what_budget_methods_were_compared(costs: list[Cost], said: str) -> None:
    assert compared_at({str(i): one for i, one in enumerate(costs)}) == said


def test_the_cost_of_a_method_is_that_of_its_training_and_of_what_prepares_it() -> None:
    trained = {"target_tokens": 500.0, "epochs": 2.0, "cpu_seconds": 9.0, "wall_seconds": 5.0}
    trained["rationales_a_question"] = 2.5
    figures = {"weights": {"cpu_seconds": 3.0}, "curriculum": {"cpu_seconds": 0.5}, "evaluate": {"cpu_seconds": 7.0}}
    assert cost({**figures, "distill": trained}) == Cost(500, 2.0, 9.0, 5.0, 3.5, 2.5)
    assert cost({"weights": {}, "distill": trained}) == Cost(500, 2.0, 9.0, 5.0, None, 2.5)
    assert cost(figures) is None
