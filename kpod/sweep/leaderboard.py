"""The leaderboard of a sweep: variants by accuracy, one page that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kpod.report.render import render
from kpod.report.style import data_uri
from kpod.sweep.figure import accuracy_by_variant
from kpod.sweep.table import SCHEMA, Row, budget, groups, several


def page(name: str, found: Sequence[Row]) -> str:
    """The page of a sweep called `name`: a table for each dataset trained on, student and set, the best row first."""
    parts = [
        {
            "train": train,
            "student": student,
            "budget": budget(rows),
            "against": rows[0].against,
            "many": several(rows),
            "sets": _by_set(rows),
        }
        for (train, student), rows in groups(found).items()
    ]
    values = {"name": name, "lead": lead(found), "groups": parts, "image": data_uri(accuracy_by_variant(found))}
    return render("leaderboard.html", values)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """By accuracy, the best first; equal ones by name."""
    return sorted(rows, key=lambda row: (-row.accuracy, row.variant))


def lead(found: Sequence[Row]) -> str:
    """One sentence on the best variant of the first set, against the reference."""
    if not found:
        return ""
    first = found[0]
    best = ranked([row for row in found if _place(row) == _place(first)])[0]
    sentence = f"{best.variant} leads with {best.accuracy:.1%} on {best.dataset} {best.split}"
    if best.difference is None or best.difference_low is None or best.difference_high is None:
        return f"{sentence}, 95% {best.low:.1%} to {best.high:.1%}"
    many = several([row for row in found if (row.train, row.student) == (best.train, best.student)])
    p, said = (best.p_holm, "Holm's p") if many else (best.p_value, "p")
    return (
        f"{sentence}: {100 * best.difference:+.1f} points on {best.against},"
        f" 95% {100 * best.difference_low:+.1f} to {100 * best.difference_high:+.1f}, {said} {p:.2g}"
    )


def outcome(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The leading sentence and the rows, the best first, from the folder that the stage wrote; for a short table."""
    found = [Row(**row) for row in pq.read_table(folder / "table.parquet", schema=SCHEMA).to_pylist()]
    shown = ("variant", "dataset", "split", "accuracy", "low", "high", "difference", "p_value", "target_tokens")
    table = columns(found)
    return lead(found), [dict(zip(shown, row, strict=True)) for row in zip(*(table[n] for n in shown), strict=True)]


def columns(found: Sequence[Row]) -> dict[str, list[Any]]:
    """The leaderboard as columns, the rows of each table in its order."""
    rows = [row for group in groups(found).values() for table in _by_set(group).values() for row in table]
    return {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__}


def _place(row: Row) -> tuple[str, str, str, str]:
    return row.train, row.student, row.dataset, row.split


def _by_set(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    sets: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        sets.setdefault((row.dataset, row.split), []).append(row)
    return {name: ranked(table) for name, table in sets.items()}
