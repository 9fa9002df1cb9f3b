"""The cost of each method, and the budget at which methods are compared."""

from collections.abc import Mapping, Sequence

from kpod.report.data import Cost

_EQUAL = 0.05  # training stops after the step that reaches the budget, so equal budgets differ by up to one batch


def compared_at(costs: Mapping[str, Cost]) -> str:
    """The budget at which the trained methods are compared, in words; empty for fewer than two of them.

    Target tokens count as equal if they differ by at most 5%, which one batch or rationale explains in a small run.
    """
    if len(costs) < 2:
        return ""
    tokens = [cost.target_tokens for cost in costs.values()]
    epochs = {cost.epochs for cost in costs.values()}
    if max(tokens) - min(tokens) <= _EQUAL * max(tokens):
        return "at equal target tokens"
    return "at equal epochs" if len(epochs) == 1 and None not in epochs else "at different budgets"


def cost(figures: Mapping[str, Mapping[str, float]]) -> Cost | None:
    """The cost of a method from the figures of its stages (stage -> name -> value); None without `distill`."""
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
        rationales_a_question=trained.get("rationales_a_question"),
        left_out=trained.get("left_out"),
    )


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if len(known) == len(seconds) else None
