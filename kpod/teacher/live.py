"""What is told while requests are out: the bar after every answer, curves for whoever watches once a second."""

import time

from kpod import observe
from kpod.teacher.budget import Budget
from kpod.teacher.plan import Plan

SECONDS = 1.0  # between two points of the curves


class Live:
    """Done, failed, rate, tokens and cost of one run."""

    def __init__(self, plan: Plan, budget: Budget, bar: observe.Progress) -> None:
        self._plan, self._budget, self._bar = plan, budget, bar
        self._before = plan.counts["done"]  # the journal's share, which says nothing about the rate
        self._began = self._told = time.monotonic()

    def tell(self, finished: int = 0, always: bool = False, **figures: object) -> None:
        """Move the bar by so many questions; `figures` are shown beside it, and `always` before a second is over."""
        now = time.monotonic()
        if now - self._told < SECONDS and not always:
            self._bar.advance(finished)
            return
        self._told = now
        counts, spent = self._plan.counts, self._budget.spent
        shown = {"failed": counts["failed"], "requests": counts["done"], "tokens": counts["tokens"]}
        rate = (counts["done"] - self._before) / max(now - self._began, 1e-9)
        observe.metrics({**shown, "usd": float(spent), "requests_per_s": rate}, step=counts["done"])
        self._bar.advance(finished, **shown, usd=f"{spent:.4f}", **figures)
