"""From a recipe or a YAML file and `--set` overrides to a checked `Pipeline`, or to one clear line of what is wrong."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from kpod.config import Pipeline
from kpod.config.retrain import Retrain
from kpod.config.sweep import Sweep
from kpod.errors import ConfigError

RECIPES = Path(str(files("kpod.config"))) / "recipes"

Model = TypeVar("Model", bound=BaseModel)


def recipes(kind: str = "") -> dict[str, Path]:
    """The recipes that ship with the package, by name; `kind` is their folder, "" for pipelines."""
    return {path.stem: path for path in sorted((RECIPES / kind).glob("*.yaml"))}


def load(source: str, overrides: Sequence[str] = ()) -> Pipeline:
    """The settings of `source` (a recipe's name or a YAML file) with the overrides `a.b=value` on top.

    Raises ConfigError in one line if the file is missing, the YAML is invalid, or a key or value does not fit.
    """
    tree = read(source, recipes())
    for override in overrides:
        _set(tree, override)
    return validate(tree)


def load_sweep(source: str, size: str | None = None, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep `source` (a recipe's name or a YAML file) on top of a size, with overrides `a.b=value` on top of both.

    A size names datasets, students and budgets, a sweep's recipe names methods and variants; a file may do both.
    Raises ConfigError as `load` does, and if no datasets are named.
    """
    tree = read(source, recipes("sweeps"))
    if size is not None:
        tree = overlay(read(size, recipes("sizes")), tree)
        tree["name"] = f"{tree.get('name', Path(source).stem)}-{Path(size).stem}"
    for override in overrides:
        _set(tree, override)
    if "datasets" not in tree:
        raise ConfigError(f"datasets: {source} names none; give --size, one of {', '.join(recipes('sizes'))}")
    return checked(tree, Sweep)


def load_retrain(path: Path | None) -> Retrain:
    """The settings of retraining in a YAML file, or the defaults. Raises ConfigError as `load` does."""
    if path is None:
        return Retrain()
    if not path.is_file():
        raise ConfigError(f"--settings: {path} does not exist")
    return checked(read(str(path), {}), Retrain)


def read(source: str, known: Mapping[str, Path]) -> dict[str, Any]:
    """The tree of the YAML file `source`, or of the file that `known` has under this name.

    Raises ConfigError if it is missing, no valid YAML, or no mapping.
    """
    path = known.get(source, Path(source))
    if not path.is_file():
        raise ConfigError(f"{source} is neither a file nor a recipe; recipes: {', '.join(known)}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: the top level must be keys and values")
    return tree


def validate(tree: dict[str, Any]) -> Pipeline:
    """As `checked`, for the tree of a pipeline."""
    return checked(tree, Pipeline)


def checked(tree: dict[str, Any], model: type[Model]) -> Model:
    """Validate a tree against a settings model and check that its input files exist.

    Raises ConfigError that names every key that does not fit.
    """
    try:
        config = model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_lines(error, tree, model))) from error
    check_files(config)
    return config


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new tree with `over` on top of `under`, key by key; lists and mappings with a `kind` are replaced whole."""
    result = deepcopy(dict(under))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping) and "kind" not in value
        result[key] = overlay(result[key], value) if both else deepcopy(value)
    return result


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
    """Put one `a.b=value` of the command line into the tree; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as key.subkey=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
    put(tree, key, value)


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted `key` of a tree. Raises ConfigError if it leads through a plain value or past a list's end."""
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
        raise ConfigError(f"--set {key}: {last} cannot be set below a plain value")


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        if not part.isdigit() or int(part) >= len(node):
            raise ConfigError(f"--set {key}: {part} is not an index below {len(node)}")
        return node[int(part)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {key}: {part} cannot be set below a plain value")
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _lines(error: ValidationError, tree: dict[str, Any], model: type[BaseModel]) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False):
        place = _place(item["loc"], tree)
        key = ".".join(place) or "config"
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_suggestion(place, model)}"
        elif item["type"] == "missing":
            yield f"{key}: is missing{_example(place, model)}"
        elif item["type"] == "union_tag_invalid":
            kinds = item["ctx"]["expected_tags"].replace("'", "")
            yield f"{key}.kind: {item['ctx']['tag']} is unknown; there are {kinds}"
        elif item["type"] == "union_tag_not_found":
            yield f"{key}.kind: is missing"
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


def _suggestion(place: list[str], model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(place[-1], _all_keys(model), n=1)
    if close == [place[-1]]:
        return " here (it belongs to another group or kind)"
    return f" (did you mean {close[0]}?)" if close else ""


def _example(place: list[str], model: type[BaseModel]) -> str:
    """What may be written for a required key, as YAML in one line."""
    for schema in _schemas(model):
        if place[-1] in schema.get("required", ()) and (examples := schema["properties"][place[-1]].get("examples")):
            text = yaml.safe_dump(examples[0], default_flow_style=True, sort_keys=False, width=10_000).strip()
            return f"; write for example {place[-1]}: {text}"
    return ""


def _all_keys(model: type[BaseModel]) -> set[str]:
    return {name for schema in _schemas(model) for name in schema.get("properties", {})}


def _schemas(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The JSON schemas of a model and of all models inside it."""
    schema = model.model_json_schema()
    return [schema, *schema.get("$defs", {}).values()]
