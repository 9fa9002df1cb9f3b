"""Sweeps without an orchestrator: what is compared, the statistics over seeds and questions, the table."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from configs import REQUIRED, pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod import schemas
from kpod.config import Budget
from kpod.config.settings import load_sweep, overlay, recipes
from kpod.config.sweep import Sweep
from kpod.errors import ConfigError, DataError
from kpod.evaluate.statistics import holm, mcnemar_exact, paired_bootstrap, wilson
from kpod.report.data import Cost
from kpod.report.style import png
from kpod.run.stages import STAGES
from kpod.store.keys import identity
from kpod.sweep.figure import accuracy_by_variant
from kpod.sweep.leaderboard import columns, lead, page
from kpod.sweep.plan import Arm, arms
from kpod.sweep.statistics import difference_interval, interval, paired_p
from kpod.sweep.table import Result, markdown, rows

WORDS = {"wordproblems": [{"kind": "wordproblems", "train": 9}]}
SHARED = {"teacher": REQUIRED["teacher"], "student": REQUIRED["student"]}


def sweep(**keys: Any) -> Sweep:
    return Sweep.model_validate({"datasets": WORDS, **keys, "pipeline": {**SHARED, **keys.get("pipeline", {})}})


# --- what is compared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "size"), list(product(recipes("sweeps"), recipes("sizes"))))
def test_every_recipe_fits_every_size(recipe: str, size: str) -> None:
    found = arms(load_sweep(recipe, size))
    assert len({arm.label for arm in found}) == len(found)
    assert {arm.config.name for arm in found} == {f"{recipe}-{size}"}
    for arm in found:
        assert arm.config.methods == [arm.method]


def test_the_papers_size_has_the_papers_students_ranks_epochs_and_splits() -> None:
    found = {
        (arm.train, arm.student): arm.config for arm in arms(load_sweep("table-1", "paper")) if arm.method == "kpod"
    }
    assert {train for train, _ in found} == {"gsm8k", "asdiv", "svamp", "commonsenseqa"}
    for (train, student), config in found.items():
        ranks = {"llama-7b": 64, "flan-t5-xl": 128, "flan-t5-large": None}
        assert getattr(config.distill.adapter, "rank", None) == ranks[student]
        assert config.distill.lr == (1e-5 if student == "llama-7b" else 5e-5)
        llama = 40 if train in ("asdiv", "svamp") else 20
        epochs = llama if student == "llama-7b" else 100
        assert config.distill.budget == Budget(epochs=epochs)  # of each method, as in the paper
        assert (config.distill.weight_floor, config.distill.keypoints, config.curriculum.T) == (0, 0, 0.5)
        assert config.questions.sources[0].dataset == train
        assert config.questions.sources[0].splits == ["train", "validation", "test"]
        assert config.distill.validation.questions == 300
        assert config.evaluate.splits == ["test"]  # judged on what did not choose the epoch
        assert (config.distill.batch_size, config.curriculum.beta, config.curriculum.c0) == (4, 12.0, 0.3)
        assert (config.weights.alpha, config.curriculum.p, config.curriculum.clusters) == (0.5, 0.5, 5)
        assert [source.dataset for source in config.questions.sources[1:]] == (
            ["asdiv", "svamp"] if train == "gsm8k" else []
        )


def test_one_student_on_one_dataset_may_have_settings_of_its_own() -> None:
    own = {
        "distill": {"lr": 0.5},
        "by_dataset": {"wordproblems": {"distill": {"budget": {"epochs": 7}}}, "elsewhere": {}},
    }
    variants = {"slow": {"method": "scotd", "set": {"distill.lr": 0.1}}}
    found = arms(sweep(methods=["scotd"], variants=variants, students={"one": {}, "other": own}, seeds=[0]))
    chosen = {(arm.student, arm.variant): (arm.config.distill.budget.epochs, arm.config.distill.lr) for arm in found}
    assert chosen == {
        ("one", "scotd"): (4, 2e-5),
        ("one", "slow"): (4, 0.1),
        ("other", "scotd"): (7, 0.5),
        ("other", "slow"): (7, 0.1),  # what a variant changes is what is compared
    }
    with pytest.raises(ValueError, match=r"students\.one\.by_dataset must hold settings by dataset"):
        sweep(students={"one": {"by_dataset": {"wordproblems": 7}}})
    narrowed = load_sweep("table-3", "paper", ["students={mine: {student: {kind: hub, name: mine}}}"])
    assert {arm.student for arm in arms(narrowed)} == {"mine"}


def stage_settings(arm: Arm, stage: str) -> object:
    return identity(STAGES[stage].config(arm.config))


def test_only_the_chosen_seeds_vary() -> None:
    first, second = (arm for arm in arms(sweep(methods=["kpod"], seeds=[3, 4])))
    assert (first.config.distill.seed, second.config.distill.seed) == (3, 4)
    for stage in ("questions", "rationales", "steps", "base", "tokens", "weights", "difficulty", "curriculum"):
        assert stage_settings(first, stage) == stage_settings(second, stage)
    both = arms(sweep(methods=["kpod"], seeds=[3, 4], vary=["distill.seed", "weights.seed"]))
    assert [arm.config.weights.seed for arm in both] == [3, 4]


def test_arms_are_every_combination_and_a_student_that_is_not_trained_has_no_seed() -> None:
    two = {"a": WORDS["wordproblems"], "b": WORDS["wordproblems"]}
    students = {"x": {"distill": {"lr": 0.5}}, "y": {"distill": {"budget": {"epochs": 6}}}}
    variants = {"fast": {"method": "scotd", "set": {"distill.lr": 0.25}}}
    found = arms(sweep(datasets=two, students=students, methods=["base", "kpod"], variants=variants, seeds=[0, 7]))
    assert len(found) == 2 * 2 * (1 + 2 + 2)
    assert [arm.label for arm in found[:3]] == ["a/x/base", "a/x/kpod/s0", "a/x/fast/s0"]
    assert found[2].config.distill.lr == 0.25
    assert {arm.config.distill.budget.epochs for arm in found if arm.student == "y"} == {6}
    one = arms(sweep(datasets=two, students=students, methods=["kpod"], across=[], seeds=[0]))
    assert [(arm.label, arm.train, arm.student) for arm in one] == [("kpod/s0", "a", "x")]


def test_a_variant_changes_what_it_names_and_shares_the_rest() -> None:
    plain, other = arms(
        sweep(methods=["kpod"], variants={"flat": {"method": "kpod", "set": {"curriculum.beta": 0.0}}}, seeds=[0])
    )
    changed = {name for name in STAGES if stage_settings(plain, name) != stage_settings(other, name)}
    assert changed == {"curriculum"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"methods": ["kpod", "kpod"]}, "named twice"),
        ({"seeds": [1, 1]}, "named twice"),
        ({"methods": ["kpdo"]}, "methods"),
        ({"against": "icecream"}, "against names icecream"),
        ({"pipeline": {"questions": {}}}, "pipeline must not hold questions"),
        ({"variants": {"a.b": {"method": "kpod"}}}, "variants"),
        ({"datasets": {}}, "datasets"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(**keys)


def test_errors_name_the_arm_the_key_or_the_way_out(tmp_path: Path) -> None:
    wrong = {"a": {"method": "kpod", "set": {"distill.epocs": 3}}}
    with pytest.raises(ConfigError, match=r"^a/s0: distill\.epocs: unknown key \(did you mean epochs\?\)$"):
        arms(sweep(methods=[], variants=wrong, seeds=[0]))
    with pytest.raises(ConfigError, match="give --size, one of cpu, gpu, paper, tiny"):
        load_sweep("table-1")
    with pytest.raises(ConfigError, match="recipes: figure-2"):
        load_sweep("table-9")
    with pytest.raises(ConfigError, match=r"acros: unknown key \(did you mean across\?\)"):
        load_sweep("table-1", "tiny", ["acros=[]"])
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "methods: [scotd]\ndatasets: {sums: [{kind: wordproblems}]}\n"
        "pipeline: {teacher: {endpoint: {kind: scripted}}, student: {kind: scratch}}\n"
    )
    assert [arm.label for arm in arms(load_sweep(str(mine), overrides=["seeds=[5]"]))] == ["scotd/s5"]


def test_one_server_cannot_answer_for_several_students() -> None:
    served = {"evaluate": {"server": {"base_url": "http://127.0.0.1:1/v1", "model": "student"}}}
    with pytest.raises(ConfigError, match=r"evaluate\.server"):
        arms(sweep(pipeline=served, methods=["scotd", "kpod"], seeds=[0]))
    with pytest.raises(ConfigError, match=r"evaluate\.server"):
        pipeline({**served, "methods": ["scotd", "kpod"]})


def test_overlays_merge_by_key_but_take_tagged_values_whole() -> None:
    under = {"a": {"x": 1, "y": {"kind": "p", "z": 2}}, "b": [1, 2]}
    found = overlay(under, {"a": {"y": {"kind": "q"}, "w": 3}, "b": [5]})
    assert found == {"a": {"x": 1, "y": {"kind": "q"}, "w": 3}, "b": [5]}
    assert under["b"] == [1, 2]


# --- statistics -----------------------------------------------------------------------------------------------


def answers(seeds: int, questions: int, share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((seeds, questions)) < share


def test_one_seed_gives_what_the_paired_statistics_give() -> None:
    a, b = answers(1, 300, 0.4), answers(1, 300, 0.5, 1)
    assert difference_interval(a, b) == pytest.approx(paired_bootstrap(a[0], b[0]), abs=0.012)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert paired_p(a, b) == mcnemar_exact(only_a, only_b)


def test_seeds_that_disagree_widen_the_interval() -> None:
    same = np.repeat(answers(1, 400, 0.5), 4, axis=0)
    apart = np.stack([answers(1, 400, share, i)[0] for i, share in enumerate((0.2, 0.4, 0.6, 0.8))])
    assert np.ptp(interval(apart)) > 2 * np.ptp(interval(same))
    low, high = interval(same)
    spread = 1.96 * np.sqrt(0.25 / 400)  # with seeds that agree, only the questions are drawn
    assert (low, high) == pytest.approx((same.mean() - spread, same.mean() + spread), abs=0.01)
    assert interval(np.zeros((3, 20), bool)) == wilson(0, 20)  # all wrong is not known to be zero


def test_paired_p_is_the_share_of_sign_flips_that_go_as_far() -> None:
    a, b = answers(2, 9, 0.3, 2), answers(2, 9, 0.7, 3)
    differences = b.mean(0) - a.mean(0)
    flips = np.array(list(product([-1, 1], repeat=9)))
    exact = (np.abs(flips @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert paired_p(a, b) == pytest.approx(exact, abs=0.015)
    assert paired_p(a, a) == 1.0
    assert paired_p(np.zeros((3, 50), bool), np.ones((3, 50), bool)) < 0.001
    assert paired_p(a, b) == paired_p(b, a) == paired_p(a, b)


def test_the_reference_may_have_another_number_of_seeds() -> None:
    a, b = answers(1, 200, 0.2), answers(3, 200, 0.6, 5)
    low, high = difference_interval(a, b)
    assert low < b.mean() - a.mean() < high
    assert paired_p(a, b) < 0.001


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
def test_intervals_hold_means_of_any_size(seeds: int, questions: int, seed: int) -> None:
    a, b = answers(seeds, questions, 0.5, seed), answers(seeds, questions, 0.5, seed + 100)
    low, high = interval(b)
    assert 0 <= low <= b.mean() <= high <= 1
    low, high = difference_interval(a, b)
    assert low - 1e-9 <= b.mean() - a.mean() <= high + 1e-9
    assert 0 < paired_p(a, b) <= 1


# --- table ----------------------------------------------------------------------------------------------------


def result(variant: str, right: str, tokens: int = 100, gold: str = "7", name: str = "sums") -> Result:
    told = [
        {"question_id": f"q{i}", "dataset": name if i < 4 else "far", "split": "test", "completion": "", "answer": gold,
         "predicted": "7" if mark == "+" else None, "correct": mark == "+", "truncated": mark == "."}
        for i, mark in enumerate(right)
    ]  # fmt: skip
    cost = Cost(tokens, 2.0, tokens / 10, tokens / 20, 0.0) if tokens else None
    return Result("sums", "mini", variant, schemas.table(told, schemas.PREDICTIONS), cost, tokens)


RESULTS = [
    result("base", "-.---.", 0), result("scotd", "++----"), result("kpod", "+++++-", 50),
    result("scotd", "+---+-"), result("kpod", "++++--", 60),
]  # fmt: skip


def test_rows_are_means_over_seeds_set_by_set() -> None:
    found = rows(RESULTS, "scotd")
    assert [(row.dataset, row.variant) for row in found] == list(product(("sums", "far"), ("base", "scotd", "kpod")))
    near = {row.variant: row for row in found if row.dataset == "sums"}
    assert near["scotd"].by_seed == [0.5, 0.25]
    assert near["kpod"].accuracy == 1.0
    assert near["kpod"].difference == pytest.approx(1 - 0.375)
    assert near["scotd"].difference is near["scotd"].p_value is None
    assert (near["base"].seeds, near["kpod"].seeds, near["kpod"].questions) == (1, 2, 4)
    assert (near["base"].target_tokens, near["scotd"].target_tokens, near["kpod"].target_tokens) == (0, 100, 55)
    assert (near["base"].cpu_seconds, near["scotd"].cpu_seconds, near["kpod"].cpu_seconds) == (None, 10.0, 5.5)
    assert (near["base"].truncated, near["base"].answerless) == (0.25, 1.0)


@pytest.mark.parametrize(
    "other", [result("kpod", "+++"), result("kpod", "++++++", gold="8"), result("kpod", "++++++", name="x")]
)
def test_arms_that_answered_other_questions_are_refused(other: Result) -> None:
    with pytest.raises(DataError, match="kpod did not answer the same questions"):
        rows([RESULTS[0], RESULTS[1], other], "scotd")


def test_markdown_and_picture_show_every_row() -> None:
    prepared = {"base": None, "scotd": 12.34, "kpod": None}  # seconds; None: not known
    found = [replace(row, preparation_seconds=prepared[row.variant]) for row in rows(RESULTS, "scotd")]
    text = markdown(found)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(found)
    assert {line.count("|") for line in lines} == {16}  # four comparisons: with Holm's p
    assert "| kpod | sums test | 4 | 2 | 100.0% |" in text
    assert "+62.5" in text
    assert lines[0].endswith(" | CPU s | wall s | preparation, CPU s |")
    assert {row.variant: line.rsplit(" | ", 3)[1:] for row, line in zip(found, lines[1:], strict=True)} == {
        "base": ["–", "–", "– |"], "scotd": ["10", "5", "12.3 |"], "kpod": ["5.5", "2.8", "– |"],
    }  # fmt: skip
    assert png(accuracy_by_variant(found)) == png(accuracy_by_variant(found))


def test_rows_fit_the_schema_whatever_is_null() -> None:
    from dataclasses import asdict

    from kpod.sweep.table import SCHEMA

    table = pa.Table.from_pylist([asdict(row) for row in rows(RESULTS, "kpod")], schema=SCHEMA)
    assert table["p_value"].null_count == 2


# --- the leaderboard -------------------------------------------------------------------------------------------------


def test_four_comparisons_are_corrected_and_shown_and_three_are_not() -> None:
    assert "p (Holm)" not in page("mine", rows(RESULTS[1:], "scotd"))
    more = rows([*RESULTS, result("acl", "+++++-"), result("spl", "+++-+-")], "scotd")
    tested = [row for row in more if row.p_value is not None]
    assert [row.p_holm for row in tested] == pytest.approx(holm([row.p_value or 0.0 for row in tested]))
    assert "p (Holm)" in markdown(more)
    assert page("mine", more).count('<th class="n">p (Holm)</th>') == 2
    assert "Holm's p" in lead(more)


def test_the_leaderboard_ranks_by_accuracy_and_says_at_what_budget() -> None:
    found = rows(RESULTS, "scotd")
    html = page("my <sweep>", found)
    assert re.findall(r'class="name"><bdi>(\w+)<', html) == ["kpod", "scotd", "base"] * 2
    assert "my &lt;sweep&gt;" in html
    assert "at equal epochs" in html  # 100 and 55 target tokens
    assert lead(found).startswith("kpod leads with 100.0% on sums test: +62.5 points on scotd")
    table = columns(found)
    assert table["variant"] == ["kpod", "scotd", "base"] * 2
    assert {len(column) for column in table.values()} == {6}
