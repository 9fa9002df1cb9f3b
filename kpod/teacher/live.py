"""Reports while requests are in flight: the progress bar after every answer, metrics once a second."""

import time

from kpod import observe
from kpod.teacher.plan import Plan

SECONDS = 1.0  # between two points of the curves


class Live:
    """Reports finished and failed requests, rate, tokens and cost of one run."""

    def __init__(self, plan: Plan, bar: observe.Progress) -> None:
        self._plan, self._bar = plan, bar
        self._before = plan.counts["done"]  # the journal's share, which says nothing about the rate
        self._began = self._reported = time.monotonic()

    def tell(self, finished: int = 0, always: bool = False, **figures: object) -> None:
        """Advance the bar by `finished` questions, with `figures` beside it; metrics once a second, or `always`."""
        now = time.monotonic()
        if now - self._reported < SECONDS and not always:
            self._bar.advance(finished)
            return
        self._reported = now
        counts, spent = self._plan.counts, self._plan.budget.spent
        shown = {"failed": counts["failed"], "requests": counts["done"], "tokens": counts["tokens"]}
        rate = (counts["done"] - self._before) / max(now - self._began, 1e-9)
        observe.metrics({**shown, "usd": float(spent), "requests_per_s": rate}, step=counts["done"])
        self._bar.advance(finished, **shown, usd=f"{spent:.4f}", **figures)
