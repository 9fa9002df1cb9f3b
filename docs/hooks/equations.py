"""Equations as MathML, made while the site is built: browsers draw it themselves, no script is loaded."""

import html
import re

from latex2mathml.converter import convert

MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Replace each equation that arithmatex has marked."""
    return MATH.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    display = "block" if match[2] == "[" else "inline"
    math = convert(html.unescape(match[3]).strip(), display=display)
    return f'<div class="equation">{math}</div>' if display == "block" else math
