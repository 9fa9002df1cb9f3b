"""What the documentation says exists: commands and their options, settings, YAML snippets, the notebook's code."""

import json
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import matplotlib.pyplot as plt
import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from kpod import __version__
from kpod.cli.app import app
from kpod.config import Pipeline
from kpod.config.retrain import Retrain
from kpod.config.settings import RECIPES, load, load_sweep, overlay
from kpod.config.sweep import Sweep
from kpod.config.variants import apply
from kpod.run import stages

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^|&& |\$\()(?:\.venv/bin/)?(kpod (?:(?!&&|;|\)\"|\s#)[^`\n])*)")
PART = "part of a recipe"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
MARKS = {"recipe", PART, "sweep", "retrain"}
FENCE = re.compile(r"(?:<!-- ([^>]*) -->\n)?```yaml\n(.*?)```", re.DOTALL)


def commands() -> dict[str, str]:
    """Every command line that starts with `kpod` in a code span or code block, with the page where it stands."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [body for language, body in BLOCK.findall(text) if language in ("", "sh")]
        spans = [span.replace("\n", " ") for span in SPAN.findall(BLOCK.sub("", text))]
        for line in "\n".join([*blocks, *spans]).splitlines():
            for match in COMMAND.findall(line):
                found[match.strip()] = page.name
    return found


COMMANDS = commands()


def test_commands_are_found_in_readme_and_docs() -> None:
    pages = set(COMMANDS.values())
    assert {"README.md", "quickstart.md"} <= pages
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_docs_exists_and_takes_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(app)
    path = []
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{COMMANDS[line]}: no command {words[0]} in {line!r}"
        command = command.commands[words[0]]
        path.append(words.pop(0))
    assert CliRunner().invoke(app, [*path, "--help"]).exit_code == 0
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{COMMANDS[line]}: {line!r} has no option {word}"


def overrides() -> list[tuple[str, str]]:
    """(recipe, KEY=VALUE) of every `--set` in the docs that names a key of a pipeline."""
    found = []
    for line in COMMANDS:
        words = shlex.split(line)
        for option, value in pairwise(words):
            if option == "--set":
                found.append((line, value))
    return found


@pytest.mark.parametrize(("line", "override"), overrides())
def test_a_setting_of_a_command_in_the_docs_is_accepted(line: str, override: str) -> None:
    words = shlex.split(line)
    if "sweep" in words:
        load_sweep(words[words.index("sweep") + 1], "tiny", [override])
    elif not re.search(r"=(?:.*/)?[\w-]+\.yaml$", override):  # a file of the reader's own
        single = ["methods=[kpod]"] if override.startswith("evaluate.server") else []
        load("svamp-smollm2", [*single, override])


def snippets() -> list[tuple[str, str, str]]:
    """(page, mark, YAML) of every YAML snippet; one without a mark is part of a recipe."""
    return [
        (page.name, mark or PART, text)
        for page in PAGES
        for mark, text in FENCE.findall(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("page", "mark", "text"), snippets())
def test_a_yaml_snippet_is_valid(page: str, mark: str, text: str) -> None:
    assert mark in MARKS, f"{page}: no mark {mark}; there are {', '.join(sorted(MARKS))}"
    tree = yaml.safe_load(text)
    if mark == "sweep":
        assert Sweep.model_validate(tree)
    elif mark == "retrain":
        assert Retrain.model_validate(tree)
    else:
        base = yaml.safe_load((RECIPES / "svamp-smollm2.yaml").read_text(encoding="utf-8")) if mark == PART else {}
        assert Pipeline.model_validate(overlay({**base, **({"teacher": None} if "teachers" in tree else {})}, tree))


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a settings model."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in models_in(field.annotation):
            yield from keys(inner, f"{prefix}{name}.")


def test_settings_named_in_the_docs_exist() -> None:
    known = set(keys(Pipeline))
    stages_of = "|".join(Pipeline.model_fields)
    named = re.compile(rf"`((?:{stages_of})\.(?!parquet)[a-z_A-Z0-9.]+)")
    wrong = [
        f"{page.name}: {key}"
        for page in PAGES
        for key in named.findall(page.read_text(encoding="utf-8"))
        if key.rstrip(".") not in known
    ]
    assert wrong == []


def undescribed(model: type[BaseModel], key: str = "") -> Iterator[str]:
    """Dotted keys without a description; a group is described by its model's docstring."""
    for name, field in model.model_fields.items():
        inner = list(models_in(field.annotation))
        described = field.description or any(getattr(one, "description", None) for one in field.metadata)
        if name != "kind" and not inner and not described:
            yield f"{key}{name}"
        for one in inner:
            if not one.__doc__:
                yield f"{key}{name}"
            yield from undescribed(one, f"{key}{name}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


@pytest.mark.parametrize("model", [Pipeline, Sweep, Retrain])
def test_every_setting_has_a_description(model: type[BaseModel]) -> None:
    assert list(undescribed(model)) == []


def test_the_change_log_has_the_version_of_the_package() -> None:
    shown = CliRunner().invoke(app, ["--version"]).stdout.strip()
    assert shown == __version__ == version("kpod")
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_notebook_draws_the_files_of_a_run(kpod_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = apply(load(str(Path(__file__).parent / "tiny.yaml")), "kpod")
    folders: dict[str, Path] = {}
    for name in ("questions", "rationales", "steps", "base", "tokens", "weights", "difficulty", "curriculum"):
        stage = stages.STAGES[name]
        folders[name] = kpod_home / "artifacts" / name / "key"
        folders[name].mkdir(parents=True)
        inputs = {need: folders[need] for need in stage.needs(config)}
        import_module(stage.module).run(inputs, stage.config(config), folders[name])

    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    notebook = json.loads((ROOT / "examples" / "inspect_run.ipynb").read_text(encoding="utf-8"))
    space: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "keep the notebook without outputs"
            exec("".join(cell["source"]), space)  # noqa: S102  # the project's own file
    assert len(drawn) == 4
    assert len(drawn[1].axes[0].texts) == len(space["shown"][0]["token_ids"])  # type: ignore[index]
    plt.close("all")
