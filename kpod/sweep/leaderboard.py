"""The leaderboard of a sweep: variants by accuracy, on one self-contained page."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kpod.report.data import grouped
from kpod.report.render import render
from kpod.report.style import data_uri
from kpod.sweep.figure import accuracy_by_variant
from kpod.sweep.table import PLACE, SCHEMA, Row, budget, groups, several


def page(name: str, rows: Sequence[Row]) -> str:
    """The HTML page of the sweep `name`: a table for each dataset trained on, student and set, the best row first."""
    parts = [
        {
            "train": train,
            "student": student,
            "budget": budget(group),
            "against": group[0].against,
            "many": several(group),
            "sets": _by_set(group),
        }
        for (train, student), group in groups(rows).items()
    ]
    values = {"name": name, "lead": lead(rows), "groups": parts, "image": data_uri(accuracy_by_variant(rows))}
    return render("leaderboard.html", values)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows by accuracy, the best first; ties by name."""
    return sorted(rows, key=lambda row: (-row.accuracy, row.variant))


def lead(rows: Sequence[Row]) -> str:
    """One sentence on the best variant of the first set, against the reference."""
    if not rows:
        return ""
    first = rows[0]
    best = ranked([row for row in rows if PLACE(row) == PLACE(first)])[0]
    sentence = f"{best.variant} leads with {best.accuracy:.1%} on {best.dataset} {best.split}"
    if best.difference is None or best.difference_low is None or best.difference_high is None:
        return f"{sentence}, 95% {best.low:.1%} to {best.high:.1%}"
    many = several([row for row in rows if (row.train, row.student) == (best.train, best.student)])
    p, label = (best.p_holm, "Holm's p") if many else (best.p_value, "p")
    return (
        f"{sentence}: {100 * best.difference:+.1f} points on {best.against},"
        f" 95% {100 * best.difference_low:+.1f} to {100 * best.difference_high:+.1f}, {label} {p:.2g}"
    )


def outcome(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The sentence of `lead` and the rows of a short table, the best first, from the folder of the stage `sweep`."""
    rows = [Row(**row) for row in pq.read_table(folder / "table.parquet", schema=SCHEMA).to_pylist()]
    shown = ("variant", "dataset", "split", "accuracy", "low", "high", "difference", "p_value", "target_tokens")
    table = columns(rows)
    return lead(rows), [dict(zip(shown, row, strict=True)) for row in zip(*(table[n] for n in shown), strict=True)]


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows of the leaderboard, in its order, as columns by the names of SCHEMA."""
    ordered = [row for group in groups(rows).values() for table in _by_set(group).values() for row in table]
    return {name: [getattr(row, name) for row in ordered] for name in Row.__dataclass_fields__}


def _by_set(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    return {name: ranked(table) for name, table in grouped(rows, attrgetter("dataset", "split")).items()}
