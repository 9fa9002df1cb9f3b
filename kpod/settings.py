"""From a recipe or a YAML file and `--set` overrides to a checked `Pipeline`, or to one clear line of what is wrong."""

import difflib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kpod.config import Pipeline, Retrain
from kpod.errors import ConfigError

RECIPES = Path(str(files("kpod"))) / "recipes"


def recipes() -> dict[str, Path]:
    """The recipes that ship with the package, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def load(source: str, overrides: Sequence[str] = ()) -> Pipeline:
    """The config named by `source` (a recipe's name or a YAML file) with `a.b=value` overrides on top.

    Raises ConfigError in one line: the file is missing, the YAML is broken, or a key or value does not fit.
    """
    path = recipes().get(source, Path(source))
    if not path.is_file():
        raise ConfigError(f"{source} is neither a file nor a recipe; recipes: {', '.join(recipes())}")
    tree = _tree(path)
    for override in overrides:
        _set(tree, override)
    return validate(tree)


def load_retrain(path: Path | None) -> Retrain:
    """The settings of retraining in a YAML file, or the defaults. Raises ConfigError as `load` does."""
    if path is None:
        return Retrain()
    if not path.is_file():
        raise ConfigError(f"--settings: {path} does not exist")
    tree = _tree(path)
    try:
        settings = Retrain.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_lines(error, tree))) from error
    check_files(settings)
    return settings


def _tree(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: the top level must be keys and values")
    return tree


def validate(tree: dict[str, Any]) -> Pipeline:
    """Check a config tree, input files included; ConfigError names every key that does not fit."""
    try:
        config = Pipeline.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_lines(error, tree))) from error
    check_files(config)
    return config


def check_files(config: BaseModel) -> None:
    """Raise ConfigError if a file or folder that the config names does not exist."""
    for key, path in named_files(config, ""):
        if not path.exists():
            raise ConfigError(f"{key}: {path} does not exist")


def named_files(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    """Dotted key and path of every input file that a config names."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from named_files(getattr(value, name), f"{key}.{name}".lstrip("."))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from named_files(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from named_files(item, f"{key}.{index}")


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as key.subkey=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
    *parents, last = key.split(".")
    node: Any = tree
    for part in parents:
        node = _child(node, part, key)
    if isinstance(node, list):
        _child(node, last, key)
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {key}: {last} has no place below a plain value")


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        if not part.isdigit() or int(part) >= len(node):
            raise ConfigError(f"--set {key}: {part} is not an index below {len(node)}")
        return node[int(part)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {key}: {part} has no place below a plain value")
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _lines(error: ValidationError, tree: dict[str, Any]) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = _place(item["loc"], tree)
        key = ".".join(place) or "config"
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_suggestion(place)}"
        else:
            yield f"{key}: {item['msg'].removeprefix('Value error, ')}"


def _place(location: tuple[int | str, ...], tree: Any) -> list[str]:
    """The key as the user wrote it: pydantic puts the chosen kind of a union between the keys."""
    parts: list[str] = []
    node = tree
    for index, part in enumerate(location):
        chosen = isinstance(node, dict) and part == node.get("kind") and part not in node
        if chosen and index < len(location) - 1:
            continue
        parts.append(str(part))
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
    return parts


def _suggestion(place: list[str]) -> str:
    close = difflib.get_close_matches(place[-1], _all_keys(), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _all_keys() -> set[str]:
    schemas = [Pipeline.model_json_schema(), Retrain.model_json_schema()]
    models = [model for schema in schemas for model in (schema, *schema["$defs"].values())]
    return {name for model in models for name in model.get("properties", {})}
