"""Figure 2 of the paper for every run: the tokens of a rationale, coloured by their weight."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from kpod.report.left_out import LeftOut
from kpod.report.render import render
from kpod.report.style import write_png
from kpod.report.token_views import spread, token_views, weight_scale
from kpod.report.tokens_figure import token_figure
from kpod.store.files import write_text

PICTURED = 4  # rationales in the PNG


def write_token_view(
    weights: pa.Table,
    questions: pa.Table,
    rationales: pa.Table,
    tokenizer: Any,
    out_html: Path,
    out_png: Path,
    limit: int = 24,
    left_out: LeftOut | None = None,
) -> None:
    """Write the token view of a run: a page with `limit` rationales, and a picture of a few of them.

    `weights`, `questions` and `rationales` are tables of `kpod.schemas`; `tokenizer` is the student's. Steps in
    `left_out` are struck through; None: no step is. The picture sets tokens from left to right, with boxes for
    characters that its font lacks; the page shows any text. Raises DataError if a rationale or its question is missing
    from the tables.
    """
    views = token_views(weights, questions, rationales, tokenizer, limit, left_out)
    scale = weight_scale(weights)
    values = {"views": views, "scale": scale, "total": len(weights), "left_out": left_out}
    write_text(out_html, render("tokens.html", values))
    few = [views[i] for i in spread(len(views), PICTURED)]
    write_png(token_figure(few, scale.low, scale.high), out_png)
