"""Configuration: one clear line for whatever is wrong, before anything is spent."""

from pathlib import Path

import pytest
import yaml

from kpod.config import Pipeline
from kpod.errors import ConfigError
from kpod.settings import load, recipes, validate


def test_the_demo_recipe_is_the_default_tree() -> None:
    assert load("demo") == Pipeline()


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_is_valid_and_has_a_line_about_itself(name: str) -> None:
    assert load(name).name
    assert recipes()[name].read_text().startswith("# ")


def test_overrides_reach_nested_keys_and_list_items() -> None:
    config = load(
        "demo", ["distill.epochs=4", "questions.sources=[{kind: wordproblems}]", "questions.sources.0.train=7"]
    )
    assert config.distill.epochs == 4
    assert config.curriculum.epochs == 4  # one epoch is one stage
    assert config.questions.sources[0].train == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distill.epocs=4", r"distill\.epocs: unknown key \(did you mean epochs\?\)"),
        ("distill.epochs=many", r"distill\.epochs: Input should be a valid integer"),
        ("distill.epochs=0", r"distill\.epochs: .*greater than or equal to 1"),
        ("teacher.endpoint={kind: smoke}", r"teacher\.endpoint: .*'smoke'.*'openai'"),
        ("teacher.endpoint={kind: scripted, wrongg: 1}", r"^teacher\.endpoint\.wrongg: unknown key"),
        ("distill", r"--set distill: write it as"),
        ("distill.epochs.x=3", r"distill\.epochs: Input should be a valid integer"),
        ("name.x.y=3", r"--set name\.x\.y: .* plain value"),
        ("curriculum.epochs=3", r"curriculum\.epochs must equal distill\.epochs"),
        ("curriculum.T=99", r"curriculum\.T must be below"),
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
    tree = yaml.safe_load(yaml.safe_dump(Pipeline().model_dump(mode="json")))
    assert validate(tree) == Pipeline()
