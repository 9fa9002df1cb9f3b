"""Stage `curriculum` (Eq. 9-13): how many steps of each rationale are input at each stage. Imports training, config."""

from kpod.curriculum.schedule import Schedule, plan
from kpod.curriculum.solvers import Selection, solve

__all__ = ["Schedule", "Selection", "plan", "solve"]
