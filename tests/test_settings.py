"""Configuration: one clear line for whatever is wrong, before anything is spent."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from configs import REQUIRED, pipeline

from kpod.config.settings import load, recipes, validate
from kpod.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "example"),
    [
        ("questions", {"sources"}),
        ("questions.sources", {"kind", "dataset", "files"}),
        ("teacher", {"endpoint", "model"}),
        ("teacher.endpoint", {"kind", "base_url"}),
        ("student", {"kind", "name"}),
    ],
)
def test_what_has_no_default_is_asked_for_with_an_example_that_can_be_copied(key: str, example: set[str]) -> None:
    tree = deepcopy(REQUIRED)
    parent, _, last = key.rpartition(".")
    del (tree[parent] if parent else tree)[last]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: is missing; write for example {last}: ") as caught:
        validate(tree)
    written = yaml.safe_load(str(caught.value).partition("for example ")[2])[last]
    assert set(written[0] if isinstance(written, list) else written) == example
    assert "\n" not in str(caught.value)


def test_a_server_must_be_told_its_model_and_a_local_teacher_need_not() -> None:
    with pytest.raises(ConfigError, match=r"name the model to ask in teacher\.model"):
        pipeline({"teacher": {"endpoint": {"kind": "openai"}}})
    assert pipeline().teacher.model == "scripted"


def test_adapters_train_at_a_higher_rate_unless_one_is_given() -> None:
    assert pipeline().distill.lr == 2e-5
    lora = {"adapter": {"kind": "lora"}}
    assert pipeline({"distill": lora}).distill.lr == 2e-4
    assert pipeline({"distill": {**lora, "lr": 2e-5}}).distill.lr == 2e-5


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_is_valid_and_has_a_line_about_itself(name: str) -> None:
    assert load(name).name
    assert recipes()[name].read_text().startswith("# ")


def test_overrides_reach_nested_keys_and_list_items() -> None:
    config = load(
        "demo",
        ["distill.budget={epochs: 4}", "questions.sources=[{kind: wordproblems}]", "questions.sources.0.train=7"],
    )
    assert config.distill.budget.epochs == 4
    assert config.planned.budget == config.distill.budget  # one epoch is one stage
    assert config.questions.sources[0].train == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distill.epocs=4", r"distill\.epocs: unknown key \(did you mean epochs\?\)"),
        ("distill.budget={epochs: many}", r"distill\.budget\.epochs: Input should be a valid integer"),
        ("distill.budget={epochs: 0}", r"distill\.budget\.epochs: .*greater than or equal to 1"),
        ("distill.budget={}", r"distill\.budget: give {epochs: n}, {target_tokens: n} or {of: scotd, epochs: n}"),
        ("distill.budget={epochs: 2, target_tokens: 9}", r"distill\.budget: give {epochs: n}"),
        ("distill.budget={of: scotd, target_tokens: 9}", r"distill\.budget: give {epochs: n}"),
        ("teacher.endpoint={kind: smoke}", r"^teacher\.endpoint\.kind: smoke is unknown; there are openai, scripted"),
        ("teacher.endpoint={wrong: 0.1}", r"^teacher\.endpoint\.kind: is missing$"),
        ("teacher.endpoint={kind: openai, wrong: 0.1}", r"endpoint\.wrong: unknown key here \(it belongs to another"),
        ("teacher.endpoint={kind: scripted, wrongg: 1}", r"^teacher\.endpoint\.wrongg: unknown key"),
        ("distill", r"--set distill: write it as"),
        ("distill.lr.x=3", r"--set distill\.lr\.x: .* plain value"),
        ("name.x.y=3", r"--set name\.x\.y: .* plain value"),
        ("curriculum.T=99", r"curriculum\.T: .*less than 1"),
        ("methods=[kpod, magic]", r"methods\.1: "),
        (
            "questions.sources=[{kind: file, dataset: d, files: {train: /no/such.jsonl}}]",
            r"questions\.sources\.0\.files\.train: /no/such\.jsonl does not exist",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load("demo", [override])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_recipe_lists_the_recipes() -> None:
    with pytest.raises(ConfigError, match=r"demo.*svamp-smollm2"):
        load("demmo")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1\nb: }")
    with pytest.raises(ConfigError, match=r"x\.yaml is not valid YAML") as caught:
        load(str(tmp_path / "x.yaml"))
    assert "\n" not in str(caught.value)


def test_the_tree_survives_yaml(tmp_path: Path) -> None:
    config = load("demo")
    assert validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config
