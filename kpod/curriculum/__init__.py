"""The curriculum of Eq. 9-13: which steps are given and which are generated, epoch by epoch."""

from kpod.curriculum.schedule import Schedule, plan
from kpod.curriculum.solvers import Selection, solve

__all__ = ["Schedule", "Selection", "plan", "solve"]
