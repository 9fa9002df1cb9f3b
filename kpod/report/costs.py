"""What each method took, and the budget at which methods are therefore compared."""

from collections.abc import Mapping, Sequence

from kpod.report.data import Cost

_EQUAL = 0.02  # a budget ends behind the optimizer step that spends it, so equal ones differ by less than a batch


def compared_at(costs: Mapping[str, Cost]) -> str:
    """At what the trained methods were compared, as the tables say it; empty with fewer than two of them."""
    if len(costs) < 2:
        return ""
    tokens = [cost.target_tokens for cost in costs.values()]
    epochs = {cost.epochs for cost in costs.values()}
    if max(tokens) - min(tokens) <= _EQUAL * max(tokens):
        return "at equal target tokens"
    return "at equal epochs" if len(epochs) == 1 and None not in epochs else "at different budgets"


def cost(figures: Mapping[str, Mapping[str, float]]) -> Cost | None:
    """The cost of a method from the figures of its stages (stage -> figure -> value); None without `distill`."""
    trained = figures.get("distill")
    if not trained or "target_tokens" not in trained:
        return None
    prepared = [figures[name].get("cpu_seconds") for name in ("weights", "difficulty", "curriculum") if name in figures]
    return Cost(
        target_tokens=int(trained["target_tokens"]),
        epochs=trained.get("epochs"),
        cpu_seconds=trained.get("cpu_seconds"),
        wall_seconds=trained.get("wall_seconds"),
        preparation_seconds=_total(prepared),
    )


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if len(known) == len(seconds) else None
