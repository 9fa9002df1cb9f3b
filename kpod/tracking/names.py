"""Settings as parameters that MLflow accepts: it rejects all parameters of a request if one is invalid."""

import hashlib
import re
from collections.abc import Iterator, Mapping

from kpod.text.hygiene import well_formed

MOST_KEY, MOST_VALUE = 250, 6000  # characters
MOST_PARAMS, MOST_BATCH = 100, 100_000  # parameters and characters of values in one request (of at most 1 MB)
_REFUSED = re.compile(r"[^\w.\- :]|^\.+")


def allowed(params: Mapping[str, str]) -> dict[str, str]:
    """`params` with invalid characters in names replaced by `_`, and long names and values truncated; no name twice.

    A name that is truncated, or becomes equal to another, ends in a hash.
    """
    plain = {name: _REFUSED.sub("_", name).strip() or "_" for name in params}
    unchanged = {name for name, changed in plain.items() if name == changed}
    result: dict[str, str] = {}
    for name, changed in plain.items():
        if len(changed) > MOST_KEY or changed in result or (changed != name and changed in unchanged):
            changed = f"{changed[: MOST_KEY - 9]}-{hashlib.sha256(well_formed(name).encode()).hexdigest()[:8]}"
        result[changed] = well_formed(params[name]).replace("\0", "\ufffd")[:MOST_VALUE]
    return result


def batches(params: Mapping[str, str]) -> Iterator[list[tuple[str, str]]]:
    """`params` as (name, value), in one list for each request."""
    part: list[tuple[str, str]] = []
    size = 0
    for name, value in params.items():
        if part and (len(part) == MOST_PARAMS or size + len(value) > MOST_BATCH):
            yield part
            part, size = [], 0
        part.append((name, value))
        size += len(value)
    if part:
        yield part
