"""The page of an evaluation: accuracy and sample answers of one student.

The report of a run, with comparisons and pictures, is another stage, so that its design does not change the cache key
of an evaluation.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kpod.evaluate.accuracy import Accuracy
from kpod.text.hygiene import clean, shorten

SHOWN = 5  # answers of each kind
LONGEST = 600  # characters of a text
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evaluation</title>
<style>body{font:16px/1.5 sans-serif;max-width:46rem;margin:1rem auto;padding:0 1rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0}
p{white-space:pre-wrap;border-left:3px solid #ccc;padding-left:.6rem}</style></head><body>
"""


def page(sets: Sequence[Accuracy], steps: Mapping[int, Accuracy], rows: Sequence[Mapping[str, Any]]) -> str:
    """A self-contained HTML page: accuracy by set and by number of steps, and right and wrong answers.

    `rows` are of schemas.PREDICTIONS.
    """
    parts = [_HEAD, "<h1>Evaluation</h1>\n"]
    parts += _table("Set", [(f"{row.dataset} {row.split}", row) for row in sets])
    if steps:
        parts += _table("Steps", [(str(count), row) for count, row in steps.items()])
    for title, correct in (("Right", True), ("Wrong", False)):
        kind = [row for row in rows if row["correct"] is correct]
        if kind:
            parts.append(f"<h2>{title}: {len(kind):,}</h2>\n")
            parts += [_answer(row) for row in kind[:SHOWN]]
    return "".join([*parts, "</body></html>\n"])


def _table(title: str, rows: Sequence[tuple[str, Accuracy]]) -> list[str]:
    head = (
        f"<table><tr><th>{title}</th><th>Accuracy</th><th>95%</th><th>Right</th><th>Cut off</th><th>No answer</th></tr>"
    )
    body = [
        f"<tr><td>{_shown(name)}</td><td>{row.accuracy:.1%}</td><td>{100 * row.low:.1f} to {100 * row.high:.1f}</td>"
        f"<td>{row.correct:,} / {row.questions:,}</td><td>{row.truncated:.1%}</td><td>{row.answerless:.1%}</td></tr>"
        for name, row in rows
    ]
    return [head, *body, "</table>\n"]


def _answer(row: Mapping[str, Any]) -> str:
    predicted = "no answer" if row["predicted"] is None else _shown(row["predicted"])
    cut = ", cut off" if row["truncated"] else ""
    return (
        f"<h3>{_shown(row['question_id'])}: {predicted}{cut}, gold {_shown(row['answer'])}</h3>"
        f"<p>{_shown(row['completion'])}</p>\n"
    )


def _shown(text: str) -> str:
    return escape(shorten(clean(text), LONGEST))
