"""HTML from the templates beside this file; every value is cleaned and escaped."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kpod.text.hygiene import clean, shorten


def _finalize(value: Any) -> Any:
    # Cleaning here, not at each use, means that no place in a template can forget it; escaping follows it.
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"


def _points(difference: float) -> str:
    text = f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if float(text[1:]) == 0 else text


def p_value(p: float | None) -> str:
    """A p-value to three digits; empty for None."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def figure(value: float | None) -> str:
    """A count or seconds; a dash for None."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


_environment = Environment(
    loader=PackageLoader("kpod", "report"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(share=_share, points=_points, p_value=p_value, figure=figure, shorten=shorten)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template with `values` and the style sheet. Raises jinja2.UndefinedError for a missing value."""
    css = Markup(_environment.get_template("style.css").render())  # noqa: S704
    return _environment.get_template(template).render(css=css, **values)
