"""Public sets from the Hugging Face hub, loaded with `datasets`: see `hub_sets` for those that are known by name."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import httpx

from kpod.config import QuestionHub
from kpod.errors import DataError
from kpod.fields import Split
from kpod.questions.hub_sets import SETS, HubSet, Parts, fields_of_columns
from kpod.questions.raw import Raw
from kpod.store.network import hub_resolved_once

SEED = 0


def load(source: QuestionHub) -> Iterator[Raw]:
    """The rows of `source.splits`. Raises DataError if the set cannot be loaded, or lacks a part or a column."""
    hub = SETS[source.dataset] if source.path is None else _other(source)
    for part, cut in hub.parts.items():
        if not {split for split, _ in cut} & set(source.splits):
            continue
        raw_rows = [row for name in hub.names for row in _fetch(hub, name, part, source.revision)]
        rows = [_fields(hub, part, index, row) for index, row in enumerate(raw_rows)]
        for split, members in partition(rows, cut).items():
            if split in source.splits:
                for fields in members[: source.limit.get(split)]:
                    yield Raw(source.dataset, split, fields)


def _other(source: QuestionHub) -> HubSet:
    """A set that the settings describe. Two splits may not be taken from one part, so each part is one split."""
    assert source.path is not None and source.columns is not None  # noqa: S101, PT018  (the settings' own check)
    parts: dict[str, Parts] = {part: [(split, None)] for split, part in source.parts.items()}
    if len(parts) < len(source.parts):
        raise DataError(
            f"questions.sources: {source.dataset}.parts takes two splits from the same part of {source.path}"
        )
    return HubSet(source.path, (source.name,), parts, fields_of_columns(source.dataset, source.columns))


def _fields(hub: HubSet, part: str, index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return hub.fields(part, index, row)
    except KeyError as error:
        columns = ", ".join(map(str, row))
        raise DataError(f"{hub.path}, part {part}, has no column {error}: it has {columns}") from error


def partition(rows: Sequence[dict[str, Any]], parts: Parts) -> dict[Split, list[dict[str, Any]]]:
    """Split rows at random (fixed seed, by id) into parts of the sizes in `parts`; each keeps the order of `rows`.

    Rows without an answer do not count towards a size: they go to the part that takes the rest (size None).
    """
    ids = sorted(row["id"] for row in rows if row["answer"] is not None)
    random.Random(SEED).shuffle(ids)
    member: dict[str, Split] = {}
    offset = 0
    for split, size in parts:
        if size is not None:
            member.update(dict.fromkeys(ids[offset : offset + size], split))
            offset += size
    rest = next(split for split, size in parts if size is None)
    result: dict[Split, list[dict[str, Any]]] = {split: [] for split, _ in parts}
    for row in rows:
        result[member.get(row["id"], rest)].append(row)
    return result


def _fetch(hub: HubSet, name: str | None, part: str, revision: str) -> Iterator[Mapping[str, Any]]:
    try:
        with hub_resolved_once():
            return iter(datasets.load_dataset(hub.path, name, split=part, revision=revision))
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{hub.path} cannot be loaded from the hub ({reason}): "
            "connect, fill the cache first, or use a source of kind `file`"
        ) from error
